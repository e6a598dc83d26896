// From counting to the transformer: the stages, what each draws, and one document read by all.
"use strict";

const DRAWN = 12; // documents of a stage
const DRAWN_AT = 0.5; // the temperature of the published program

const surprise = (p) => `s${Math.min(Math.floor(-Math.log2(p) / 1.5), 4)}`;
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// How far a key goes along a row or a list; NaN for one that goes nowhere.
const along = ({ key }) => (MOVES[key] ? MOVES[key][0] + MOVES[key][1] : NaN);
const inNats = (loss, digits = 3) => loss.toFixed(digits);

// The ids of what is typed, between two ends, as a run reads a document; what it does not know is
// told in `message` and left out.
function documentOf(run, text, message) {
  const { tokenizer, facts } = run;
  const ids = tokenizer.encode(text).filter((id) => id !== facts.end);
  const signs = tokenizer.unknown(text).slice(0, 12).join(" ");
  message.textContent = signs ? `Left out, since the vocabulary does not have them: ${signs}` : "";
  return [facts.end, ...ids.slice(0, facts.spec.block_size - 1), facts.end];
}

class Ladder {
  constructor(facts) {
    this.facts = facts;
    this.seed = 0;
    const [first] = facts.learners;
    this.stages = facts.stages.map((stage) => {
      const run = runs[stage.run ?? first.run];
      const engine = this.engine(stage, run);
      return { ...stage, tokenizer: run.tokenizer, end: run.facts.end, engine };
    });
    this.run = runs[first.run];
    this.guess = Math.log(this.run.facts.spec.vocab_size);
    this.buttons = this.stages.map((stage, place) => this.rung(stage, place));
    byId("rungs").append(...this.buttons.map((button) => element("li", {}, button)));
    byId("rungs").addEventListener("keydown", (event) => this.step(event));
    byId("others").addEventListener("click", () => this.draw(++this.seed));
    byId("read").addEventListener("input", () => this.read());
    byId("guess").textContent = `${inNats(this.guess)} (ln ${this.run.facts.spec.vocab_size})`;
    byId("read").value = facts.text;
    this.choose(this.stages.length - 1);
  }

  engine(stage, run) {
    if (stage.run !== null) return engineOf(run.facts.spec, run.weights);
    const { counts, smoothing } = this.facts;
    const spec = { ...run.facts.spec, smoothing };
    return new BigramEngine(spec, new Map([["counts", Float32Array.from(counts.flat())]]));
  }

  // A row to choose a stage by: its loss is a dot on an axis that all rows share, and the bar what
  // it gains on the one before.
  rung(stage, place) {
    const ends = ({ loss, spread }) => (loss === null ? [] : [loss - spread, loss + spread]);
    const losses = this.stages.flatMap(ends); // a spread of null counts as 0
    const [low, high] = [Math.min(...losses), Math.max(...losses)];
    const at = (loss) => 4 + (92 * (loss - low)) / (high - low || 1);
    const strip = element("span", { class: "strip", "aria-hidden": "true" });
    const mark = (kind, from, to) => {
      const made = element("i", { class: kind });
      made.style.left = `${at(Math.min(from, to))}%`;
      made.style.width = kind === "dot" ? "" : `${Math.abs(at(from) - at(to))}%`;
      strip.append(made);
    };
    const before = this.stages[place - 1]?.loss ?? null;
    if (stage.loss !== null) {
      if (before !== null) mark(stage.loss < before ? "gain" : "gain lost", before, stage.loss);
      mark("spread", ...ends(stage));
      mark("dot", stage.loss, stage.loss);
    }
    const title = element("b", {}, `${place + 1}  ${stage.title}`);
    const size = element("span", { class: "number" }, `${whole(stage.parameters)} parameters`);
    const loss = element("span", { class: "number" }, this.lossOf(stage));
    const button = element("button", { type: "button" }, title, strip, loss, size);
    button.addEventListener("click", () => this.choose(place));
    return button;
  }

  lossOf({ loss, spread }) {
    if (loss === null) return "loss not known";
    return inNats(loss) + (spread === null ? "" : ` ± ${inNats(spread)}`);
  }

  step(event) {
    const places = { Home: 0, End: this.stages.length - 1 };
    const place = places[event.key] ?? this.place + along(event);
    if (!(place >= 0 && place < this.stages.length)) return;
    event.preventDefault();
    this.choose(place);
    this.buttons[place].focus();
  }

  choose(place) {
    this.place = place;
    const stage = this.stages[place];
    this.buttons.forEach((button, i) => {
      button.setAttribute("aria-pressed", String(i === place));
      button.tabIndex = i === place ? 0 : -1;
    });
    byId("rung-title").textContent = stage.title;
    byId("rung-adds").textContent = stage.adds;
    byId("rung-facts").textContent = this.gained(stage, this.stages[place - 1]);
    this.draw(this.seed);
    this.read();
  }

  gained(stage, before) {
    const size = `${whole(stage.parameters)} parameters`;
    if (stage.loss === null) return `${size}; its loss is not known without its text.`;
    const seeds = stage.seeds > 1 ? `, the mean of ${stage.seeds} seeds with its 95% interval` : "";
    const words = `${size}; ${this.lossOf(stage)} nats per token${seeds}`;
    const guess = `a blind guess has ${inNats(this.guess)}.`;
    if ((before?.loss ?? null) === null) return `${words}; ${guess}`;
    const less = inNats(before.loss - stage.loss);
    if (Number(less) === 0) return `${words}; as much as the stage before.`;
    const how = less > 0 ? "less" : "more";
    return `${words}; ${less.replace("-", "")} ${how} than the stage before.`;
  }

  // Documents from the stage's own weights, each letter shaded by how little it was expected.
  draw(seed) {
    const { engine, tokenizer, end } = this.stages[this.place];
    const dials = { temperature: DRAWN_AT, topK: 0, topP: 1, minP: 0, penalty: 1 };
    const most = this.run.facts.spec.block_size;
    const documents = Array.from({ length: DRAWN }, (_, i) => {
      const writer = new Writer(engine, end, false);
      writer.begin([end], seed * DRAWN + i);
      const box = element("span", { class: "document" });
      for (let token; writer.ids.length < most && (token = writer.next(dials)) !== null; ) {
        const words = { class: surprise(token.probability), title: percent(token.probability) };
        box.append(element("span", words, label(tokenizer, token.id)));
      }
      if (!box.firstChild) box.append(label(tokenizer, end));
      return box;
    });
    byId("documents").replaceChildren(...documents);
  }

  // How much each stage expected each letter of one document.
  read() {
    const ids = documentOf(this.run, byId("read").value, byId("read-unknown"));
    const name = (id) => label(this.run.tokenizer, id);
    const heads = ids.slice(1).map((id) => element("th", { scope: "col" }, name(id)));
    const first = element("th", { scope: "col" }, "stage");
    const last = element("th", { scope: "col", class: "number" }, "loss");
    byId("reading").tHead.replaceChildren(element("tr", {}, first, ...heads, last));
    const rows = this.stages.map((stage, place) => {
      stage.engine.reset();
      const chances = ids.slice(1).map((id, i) => softmax(stage.engine.read(ids[i]))[id]);
      const loss = chances.reduce((all, p) => all - Math.log(p), 0) / chances.length;
      const cells = chances.map((p) => element("td", { class: surprise(p) }, percent(p)));
      const name = element("span", {}, `  ${stage.title}`);
      const title = element("th", { scope: "row" }, String(place + 1), name);
      const last = element("td", { class: "number" }, inNats(loss, 2));
      const row = element("tr", {}, title, ...cells, last);
      if (place === this.place) row.className = "chosen";
      return row;
    });
    byId("reading").tBodies[0].replaceChildren(...rows);
  }
}

const microFacts = JSON.parse(byId("ladder-data").textContent);
new Ladder(microFacts);
