// One update on one document: the loss and its gradients from the scalar engine, in this page, and
// every parameter before and after.
"use strict";

const LARGEST = 8; // changes that are listed
const RATES = { adam: 0.01, sgd: 0.3 }; // of the ladder, for what a model was not trained by
const CELL = 5; // pixels of a number in a picture
const TALL = 40; // rows above which a picture stands on its side
const VIEWS = {
  change: ({ before, after }, i) => after[i] - before[i],
  gradient: ({ gradient }, i) => gradient[i],
  before: ({ before }, i) => before[i],
  after: ({ after }, i) => after[i],
};

class UpdateFigure {
  constructor(facts) {
    this.learners = facts.learners;
    const options = facts.learners.map(({ run }, i) =>
      element("option", { value: i }, runs[run].facts.name),
    );
    byId("learner").append(...options);
    byId("learner").parentElement.hidden = facts.learners.length < 2;
    byId("document").value = facts.text;
    byId("learner").addEventListener("change", () => this.takeSettings());
    for (const id of ["document", "rate"]) byId(id).addEventListener("input", () => this.begin());
    byId("optimizer").addEventListener("change", () => this.takeRate());
    byId("again").addEventListener("click", () => this.update());
    byId("anew").addEventListener("click", () => this.begin());
    byId("view").addEventListener("change", () => this.drawMatrices());
    const night = matchMedia("(prefers-color-scheme: dark)");
    night.addEventListener("change", () => this.drawMatrices());
    this.takeSettings();
  }

  takeSettings() {
    this.own = this.learners[Number(byId("learner").value)];
    this.run = runs[this.own.run];
    byId("optimizer").value = this.own.optimizer;
    this.takeRate();
  }

  takeRate() {
    const chosen = byId("optimizer").value;
    byId("rate").value = String(chosen === this.own.optimizer ? this.own.lr : RATES[chosen]);
    this.begin();
  }

  // From the weights as they were trained, the first update.
  begin() {
    const ids = documentOf(this.run, byId("document").value, byId("document-unknown"));
    const rate = Number(byId("rate").value);
    if (!(rate >= 0) || byId("rate").value === "") return;
    const { beta1 = 0.85, beta2 = 0.99 } = this.own;
    const chosen = { optimizer: byId("optimizer").value, lr: rate, beta1, beta2 };
    this.ids = ids;
    this.learner = new Learner(this.run.facts, this.run.weights, chosen);
    this.losses = [];
    this.update();
  }

  update() {
    const began = performance.now();
    this.result = this.learner.update(this.ids);
    const took = performance.now() - began;
    const { mean, logs } = this.learner.model.loss(this.ids);
    this.losses.push(this.result.loss);
    const path = [...this.losses, mean.data].slice(-6).map((loss) => loss.toFixed(4)).join(" → ");
    const times = this.losses.length > 1 ? `, ${this.losses.length} updates in all` : "";
    byId("update-words").textContent = `Loss on it: ${path} nats per token${times}.`;
    const size = whole(this.result.size);
    byId("update-cost").textContent =
      `The loss is made of ${size} numbers, each of which knows those it was computed from. ` +
      `Forward, back and the update took ${took.toFixed(0)} ms here.`;
    this.showTokens(logs);
    this.drawMatrices();
    this.list();
  }

  // How much each token was expected before and after.
  showTokens(logs) {
    const name = (id) => label(this.run.tokenizer, id);
    const rows = logs.map((log, i) => {
      const made = bar(`${name(this.ids[i])} → ${name(this.ids[i + 1])}`, `token ${i + 1}`);
      const [before, after] = [Math.exp(this.result.logs[i]), Math.exp(log)];
      made.line.style.width = `${100 * before}%`;
      made.full.style.width = `${100 * after}%`;
      made.number.textContent = `${percent(before)} → ${percent(after)}`;
      return made.row;
    });
    byId("document-tokens").replaceChildren(...rows);
  }

  // Every parameter as a cell: its hue is the sign, its shade the root of its size, so that small
  // numbers are seen beside large ones.
  drawMatrices() {
    const view = VIEWS[byId("view").value];
    const style = getComputedStyle(document.body);
    const [above, below] = ["--accent", "--second"].map((name) => style.getPropertyValue(name));
    const count = this.result.before.length;
    this.values = Float64Array.from({ length: count }, (_, i) => view(this.result, i));
    const most = this.values.reduce((all, value) => Math.max(all, Math.abs(value)), 0);
    byId("scale").textContent = `−${small(most)} to +${small(most)}`;
    let from = 0;
    const figures = [...this.learner.model.matrices].map(([name, rows]) => {
      const made = this.matrix(name, rows.length, rows[0].length, from, { most, above, below });
      from += rows.length * rows[0].length;
      return made;
    });
    byId("matrices").replaceChildren(...figures);
  }

  // The picture of a matrix; one that is long stands on its side, so its rows are columns there.
  matrix(name, rows, columns, from, { most, above, below }) {
    const isTurned = rows > TALL;
    const [width, height] = isTurned ? [rows, columns] : [columns, rows];
    const canvas = element("canvas", { width, height, tabindex: 0, role: "img" });
    [canvas.style.width, canvas.style.height] = [`${CELL * width}px`, `${CELL * height}px`];
    const place = (x, y) => (isTurned ? x * columns + y : y * columns + x);
    const brush = canvas.getContext("2d");
    let moved = 0;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const value = this.values[from + place(x, y)];
        moved += value !== 0;
        brush.fillStyle = value > 0 ? above : below;
        brush.globalAlpha = Math.sqrt(Math.abs(value) / (most || 1));
        brush.fillRect(x, y, 1, 1);
      }
    }
    const shape = `${plainName(name)}, ${rows} × ${columns}`;
    const words = `${shape}: ${whole(moved)} numbers are not 0; arrow keys read them`;
    canvas.setAttribute("aria-label", words);
    let at = [0, 0];
    const tell = (...to) => {
      at = to.map((value, axis) => Math.min(Math.max(value, 0), [width, height][axis] - 1));
      byId("cell").textContent = this.told(name, from, place(...at), columns);
    };
    canvas.addEventListener("pointermove", ({ offsetX, offsetY }) => {
      tell(Math.floor(offsetX / CELL), Math.floor(offsetY / CELL));
    });
    canvas.addEventListener("keydown", (event) => {
      if (!MOVES[event.key]) return;
      event.preventDefault();
      tell(...at.map((value, axis) => value + MOVES[event.key][axis]));
    });
    const turned = isTurned ? ", rows across" : "";
    return element("figure", {}, canvas, element("figcaption", {}, shape + turned));
  }

  told(name, from, at, width) {
    const number = (key) => small(this.result[key][from + at]);
    const [before, after, gradient] = ["before", "after", "gradient"].map(number);
    return `${this.where(name, at, width)}: ${before} → ${after}, gradient ${gradient}`;
  }

  // A place in a matrix; rows of tables and of the head are tokens, those of positions places.
  where(name, at, width) {
    const row = Math.floor(at / width);
    const isToken = name === "token_table" || name === "head";
    const shown = isToken ? `“${label(this.run.tokenizer, row)}”` : String(row + 1);
    return `${plainName(name)}, row ${shown}, column ${(at % width) + 1}`;
  }

  list() {
    const { before, gradient, after } = this.result;
    const change = (i) => Math.abs(after[i] - before[i]);
    const order = Array.from(before, (_, i) => i);
    // Adam's first changes are alike but for rounding: of those the larger gradient comes first.
    const key = (i) => Number(change(i).toPrecision(3));
    order.sort((a, b) => key(b) - key(a) || Math.abs(gradient[b]) - Math.abs(gradient[a]));
    const names = [];
    for (const [name, rows] of this.learner.model.matrices) {
      rows.flat().forEach((_, at) => names.push([name, at, rows[0].length]));
    }
    const rows = order.slice(0, LARGEST).map((i) => {
      const numbers = [before[i], gradient[i], after[i] - before[i], after[i]].map(small);
      const cells = numbers.map((number) => element("td", { class: "number" }, number));
      return element("tr", {}, element("th", { scope: "row" }, this.where(...names[i])), ...cells);
    });
    byId("changes").tBodies[0].replaceChildren(...rows);
    const still = order.filter((i) => change(i) === 0).length;
    byId("still").textContent = `${whole(still)} of ${whole(order.length)} parameters stood still.`;
  }
}

const small = (number) => {
  const isTiny = number !== 0 && Math.abs(number) < 1e-4;
  return (isTiny ? number.toExponential(1) : number.toFixed(4)).replaceAll("-", "−");
};

// A matrix's name in words.
function plainName(name) {
  const [, layer, part] = /^(?:blocks\.(\d+)\.)?(.*)$/.exec(name);
  const words = {
    token_table: "token table", position_table: "position table", head: "head",
    "attention.qkv": "queries, keys, values", "attention.proj": "attention, out",
    "mlp.up": "MLP, up", "mlp.proj": "MLP, down",
  };
  return (layer === undefined ? "" : `layer ${Number(layer) + 1}, `) + (words[part] ?? part);
}

new UpdateFigure(microFacts);
