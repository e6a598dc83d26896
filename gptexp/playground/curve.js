// The curve of a run, its learning rate, and the samples of its stages.
"use strict";

const LEFT = 44, RIGHT = 8, TOP = 10; // pixels around the curves
const HIGH = 200, STRIP = 40, GAP = 30; // of the losses, of the learning rate, and between them

// At most about `count` round numbers from `low` to `high`, and their decimals.
function ticks(low, high, count, least = 0) {
  const rough = Math.max((high - low) / count, least) || 1;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 5, 10].find((each) => each * unit >= rough * (1 - 1e-9));
  const first = Math.ceil(low / step - 1e-9);
  const size = Math.floor(high / step + 1e-9) - first + 1;
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return { values: Array.from({ length: size }, (_, i) => (first + i) * step), decimals };
}

// Which of the steps is closest to one; of several the last.
const closest = (steps, step) =>
  steps.reduce((best, each, i) => {
    return Math.abs(each - step) <= Math.abs(steps[best] - step) ? i : best;
  }, 0);

class Training {
  constructor() {
    byId("step").addEventListener("input", () => this.choose());
    new ResizeObserver(() => this.draw()).observe(byId("curve"));
  }

  show(run) {
    const { curve, samples } = run.facts;
    this.run = run;
    byId("legend").hidden = !curve.steps;
    document.querySelector("#legend .cliff").hidden = !curve.onset;
    document.querySelector("#legend .now").hidden = samples.length === 0;
    byId("stage").hidden = byId("sample").hidden = samples.length === 0;
    byId("step").max = String(Math.max(samples.length - 1, 0));
    byId("step").value = String(closest(samples.map(({ step }) => step), run.facts.step));
    byId("course").textContent = curve.steps ? this.words() : "No curve lies beside these weights.";
    this.width = null;
    this.draw();
    this.choose();
  }

  // What the curve comes to.
  words() {
    const { curve, step } = this.run.facts;
    const { steps, val, best, onset, verdict } = curve;
    const least = val[steps.indexOf(best)].toFixed(4);
    const none = verdict === "none" ? "no cliff" : "too early to tell of a cliff";
    const turn = onset === null ? none : `the cliff begins at step ${whole(onset)}`;
    const ours = step === best ? "" : ` The weights of this page are of step ${whole(step)}.`;
    return `Best validation loss ${least} at step ${whole(best)}; ${turn}.${ours}`;
  }

  choose() {
    const chosen = this.run.facts.samples[Number(byId("step").value)];
    this.now?.setAttribute("d", chosen ? this.line(chosen.step) : "");
    if (!chosen) return;
    document.querySelector("output[for=step]").textContent = whole(chosen.step);
    byId("step").setAttribute("aria-valuetext", `step ${whole(chosen.step)}`);
    byId("sample").textContent = chosen.text.replace(/^\n+/, ""); // the prompt
  }

  // A line from top to bottom.
  line(step) {
    return `M${this.x(step)} ${TOP}V${this.bottom}`;
  }

  // The picture, as wide as there is room for; letters keep their size.
  draw() {
    const width = Math.round(byId("curve").clientWidth);
    if (!this.run || width === this.width || width === 0) return;
    this.width = width;
    const { curve, step } = this.run.facts;
    this.now = null;
    byId("curve").replaceChildren();
    if (!curve.steps) return;
    const { steps, val, train, rates } = curve;
    const last = Math.max(steps[steps.length - 1], rates.at(-1)?.[0] ?? 0, 1);
    this.x = (at) => (LEFT + ((width - LEFT - RIGHT) * at) / last).toFixed(1);
    this.bottom = TOP + HIGH + (rates.length ? GAP + STRIP : 0);
    const box = `0 0 ${width} ${this.bottom + 40}`;
    const svg = drawn("svg", { viewBox: box, role: "img", "aria-label": this.words() });
    this.drawAxes(svg, last, [...val, ...train]);
    const words = rates.length ? [this.drawRates(svg, rates)] : [];
    if (curve.onset !== null) {
      svg.append(drawn("path", { class: "cliff", d: this.line(curve.onset) }));
    }
    this.now = drawn("path", { class: "now", d: "" });
    const path = (losses) =>
      losses.map((loss, i) => `${i ? "L" : "M"}${this.x(steps[i])} ${this.y(loss)}`).join("");
    svg.append(
      drawn("path", { class: "train", d: path(train) }),
      drawn("path", { class: "val", d: path(val) }),
      this.now,
      ...words, // above the lines that cross them
    );
    for (const [kind, at] of [["best", curve.best], ["ours", step]]) {
      const place = closest(steps, at);
      const [cx, cy] = [this.x(steps[place]), this.y(val[place])];
      svg.append(drawn("circle", { class: kind, cx, cy, r: kind === "best" ? 4 : 7 }));
    }
    byId("curve").append(svg);
    this.choose();
  }

  drawAxes(svg, last, losses) {
    const [low, high] = [Math.min(...losses), Math.max(...losses)];
    const y = (loss) => TOP + HIGH - (HIGH * (loss - low)) / (high - low || 1);
    this.y = (loss) => y(loss).toFixed(1);
    const levels = ticks(low, high, 5);
    for (const level of levels.values) {
      svg.append(
        drawn("path", { class: "grid", d: `M${LEFT} ${this.y(level)}H${this.width - RIGHT}` }),
        drawn("text", { class: "y", x: LEFT - 8, y: y(level) + 4 }, level.toFixed(levels.decimals)),
      );
    }
    const room = Math.max(2, Math.floor((this.width - LEFT) / 90));
    for (const at of ticks(0, last, room, 1).values) {
      const anchor = Number(this.x(at)) > this.width - 30 ? "end" : at ? "middle" : "start";
      const place = { x: this.x(at), y: this.bottom + 18, "text-anchor": anchor };
      svg.append(drawn("text", place, whole(at)));
    }
    const middle = { x: (LEFT + this.width - RIGHT) / 2, y: this.bottom + 36 };
    svg.append(drawn("text", { ...middle, "text-anchor": "middle" }, "step"));
  }

  // The strip of the learning rate; the words that go above it are returned.
  drawRates(svg, rates) {
    const top = TOP + HIGH + GAP;
    const most = Math.max(...rates.map(([, rate]) => rate));
    const y = (rate) => (top + STRIP - (STRIP * rate) / (most || 1)).toFixed(1);
    const along = rates.map(([step, rate]) => `L${this.x(step)} ${y(rate)}`).join("");
    const [from, to] = [rates[0], rates.at(-1)].map(([step]) => this.x(step));
    svg.append(
      drawn("path", { class: "rate", d: `M${from} ${top + STRIP}${along}L${to} ${top + STRIP}Z` }),
      drawn("path", { class: "grid", d: `M${LEFT} ${top + STRIP}H${this.width - RIGHT}` }),
    );
    const words = `learning rate, ${Number(most.toPrecision(2))} at most`;
    return drawn("text", { class: "halo", x: LEFT, y: top - 6 }, words);
  }
}
