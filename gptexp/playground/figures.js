// The figures of the page: each draws what it is given, and keeps what a person chose in it.
"use strict";

const SHOWN = 12; // tokens of a distribution
const READ = 32; // tokens of the text that the figures look inside for
const MOST_TOKENS = 1024; // of a vocabulary that is shown whole
const SIGNS = { " ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍" };

const byId = (id) => document.getElementById(id);
const percent = (p) => (p >= 0.0995 ? `${(100 * p).toFixed(0)}%` : `${(100 * p).toFixed(1)}%`);
const whole = (number) => number.toLocaleString("en-US");

// An element with attributes, and texts or elements inside; markup in texts stays text.
function element(tag, attributes = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...inside);
  return made;
}

function drawn(tag, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

// Signs, or words, that have no token: what cannot be seen by its number, long words by their begin.
function spelled(unknown) {
  const code = (sign) => `U+${sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  const seen = (sign) => SIGNS[sign] ?? (/[\p{C}\p{Z}]/u.test(sign) ? code(sign) : sign);
  const short = (word) => Array.from(word.slice(0, 20), seen).join("");
  const words = unknown.slice(0, 12).map((word) => short(word) + (word.length > 20 ? "…" : ""));
  return words.join(" ") + (unknown.length > 12 ? " …" : "");
}

// A token as a label: white space by signs, what cannot be shown by its number.
function label(tokenizer, id) {
  if (tokenizer.tidy) return String(id);
  const text = tokenizer.decode([id]);
  if (/[\p{C}\ufffd]/u.test(text.replace(/[\n\t\r]/g, ""))) return `<${id}>`;
  return Array.from(text, (character) => SIGNS[character] ?? character).join("");
}

// The ids of the `count` highest, in one pass: a vocabulary may have fifty thousand.
function likeliest(logits, count) {
  const best = [];
  for (let id = 0; id < logits.length; id++) {
    if (best.length === count && !(logits[id] > logits[best[count - 1]])) continue;
    let place = best.length;
    while (place > 0 && logits[best[place - 1]] < logits[id]) place--;
    best.splice(place, 0, id);
    if (best.length > count) best.pop();
  }
  return best;
}

function bar(name, title) {
  const [line, full] = [element("i", { class: "line" }), element("i", { class: "full" })];
  const number = element("span", { class: "number" });
  const track = element("span", { class: "track" }, full, line);
  const row = element("div", { class: "bar", title }, element("b", {}, name), track, number);
  return { row, line, full, number };
}

// What comes next: rows stay as long as the model's own order does, so that bars grow and shrink.
class NextToken {
  constructor() {
    this.rows = [];
    this.key = "";
  }

  show(run, dials) {
    const logits = run.writer.logits;
    const ids = likeliest(logits, SHOWN);
    const [own, left] = [softmax(logits), run.writer.left(dials)];
    const key = [run.number, ...ids].join();
    if (key !== this.key) {
      this.key = key;
      this.rows = ids.map((id) => bar(label(run.tokenizer, id), `token ${id}`));
      if (logits.length > SHOWN) this.rows.push(bar("all others", "the rest of the vocabulary"));
      byId("next").replaceChildren(...this.rows.map(({ row }) => row));
      byId("next").offsetWidth; // so that the new bars grow from nothing
    }
    const rest = (p) => 1 - ids.reduce((all, id) => all + p[id], 0);
    this.rows.forEach((row, i) => {
      const [before, after] = [own, left].map((p) => (i < ids.length ? p[ids[i]] : rest(p)));
      row.line.style.width = `${100 * Math.max(before, 0)}%`;
      row.full.style.width = `${100 * Math.max(after, 0)}%`;
      row.number.textContent = `${percent(Math.abs(before))} → ${percent(Math.abs(after))}`;
    });
  }
}

// The ids of a text, the text of the ids, and the vocabulary.
class Vocabulary {
  show(run, text) {
    const { tokenizer } = run;
    const ids = tokenizer.encode(text);
    const unknown = tokenizer.unknown(text);
    const chip = (id, isUsed) => {
      const name = element("small", {}, String(id));
      return element("span", { class: isUsed ? "chip used" : "chip" }, label(tokenizer, id), name);
    };
    byId("chips").replaceChildren(...ids.slice(0, MOST_TOKENS).map((id) => chip(id, false)));
    const back = tokenizer.decode(ids);
    const counts = `${whole(Array.from(text).length)} characters are ${whole(ids.length)} tokens`;
    const isSame = back === (tokenizer.tidy?.(text) ?? text);
    const same = `decoded, they are ${isSame ? "the same" : "another"} text`;
    const missing = unknown.length ? `; not in the vocabulary: ${spelled(unknown)}` : "";
    byId("round-trip").textContent = `${counts}; ${same}${missing}`;
    const used = new Set(ids);
    const size = Math.min(run.facts.spec.vocab_size, MOST_TOKENS);
    const all = Array.from({ length: size }, (_, id) => chip(id, used.has(id)));
    const more = run.facts.spec.vocab_size - size;
    byId("vocabulary").replaceChildren(...all, more > 0 ? `and ${whole(more)} more` : "");
  }
}

// What the layers do as they read the last tokens: attention, and what each would say.
class Inside {
  constructor() {
    [this.layer, this.head, this.query] = [0, 0, 0];
    byId("strip").addEventListener("keydown", (event) => this.step(event));
    byId("heads").addEventListener("keydown", (event) => this.turn(event));
    for (const kind of ["pointerdown", "pointerover"]) {
      byId("strip").addEventListener(kind, (event) => {
        const chip = event.target.closest("button");
        if (chip && (kind === "pointerdown" || event.buttons)) this.ask(Number(chip.dataset.place));
      });
    }
  }

  show(run) {
    const { spec } = run.facts;
    byId("inside").hidden = spec.kind !== "gpt";
    if (byId("inside").hidden) return;
    this.run = run;
    this.engine = new GPTEngine(spec, run.weights);
    this.ids = run.writer.ids.slice(-Math.min(READ, this.engine.capacity));
    this.streams = []; // by token, then layer: Float32Array [n_embd]
    this.maps = []; // by token, layer and head: weights of the tokens up to it
    for (const id of this.ids) {
      const [streams, maps] = [[], []];
      this.engine.read(id, (layer, stream, weights) => {
        streams.push(stream.slice());
        if (layer >= 0) maps.push(weights);
      });
      this.streams.push(streams);
      this.maps.push(maps);
    }
    this.layer = Math.min(this.layer, spec.n_layer - 1);
    this.head = Math.min(this.head, spec.n_head - 1);
    this.chips = this.ids.map((id, place) => {
      const text = element("span", {}, label(run.tokenizer, id));
      const words = { class: "chip", type: "button", "data-place": place };
      return element("button", words, element("i"), text);
    });
    byId("strip").replaceChildren(...this.chips);
    this.drawHeads();
    this.ask(this.ids.length - 1);
  }

  drawHeads() {
    const { n_layer: layers, n_head: heads } = this.run.facts.spec;
    const rows = Array.from({ length: layers }, (_, layer) => {
      const cells = Array.from({ length: heads }, (_, head) => {
        const name = `layer ${layer + 1}, head ${head + 1}`;
        const button = element("button", { type: "button", "aria-label": name });
        button.append(this.map(layer, head));
        button.addEventListener("click", () => {
          [this.layer, this.head] = [layer, head];
          this.ask(this.query);
        });
        return element("td", {}, button);
      });
      return element("tr", {}, element("th", { scope: "row" }, `layer ${layer + 1}`), ...cells);
    });
    byId("heads").tBodies[0].replaceChildren(...rows);
  }

  map(layer, head) {
    const size = this.ids.length;
    const canvas = element("canvas", { width: size, height: size });
    const brush = canvas.getContext("2d");
    brush.fillStyle = getComputedStyle(document.body).getPropertyValue("--accent");
    this.maps.forEach((maps, row) =>
      maps[layer][head].forEach((weight, column) => {
        brush.globalAlpha = 0.06 + 0.94 * weight;
        brush.fillRect(column, row, 1, 1);
      }),
    );
    return canvas;
  }

  step(event) {
    const steps = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
    const places = { Home: 0, End: this.ids.length - 1 };
    const place = places[event.key] ?? this.query + (steps[event.key] ?? NaN);
    if (!(place >= 0 && place < this.ids.length)) return;
    event.preventDefault();
    this.ask(place);
    this.chips[place].focus();
  }

  // Go to another head by the arrow keys.
  turn(event) {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const [down, right] = moves[event.key] ?? [NaN, NaN];
    const [layer, head] = [this.layer + down, this.head + right];
    if (!this.maps[0][layer]?.[head]) return;
    event.preventDefault();
    [this.layer, this.head] = [layer, head];
    this.ask(this.query);
    byId("heads").querySelector("[aria-pressed=true]").focus();
  }

  // Show what a token looks at, and what each layer makes of it.
  ask(query) {
    this.query = query;
    const weights = this.maps[query][this.layer][this.head];
    this.chips.forEach((chip, place) => {
      chip.setAttribute("aria-pressed", String(place === query));
      chip.tabIndex = place === query ? 0 : -1;
      chip.firstChild.style.opacity = String(0.85 * (weights[place] ?? 0));
    });
    byId("heads").querySelectorAll("button").forEach((button, number) => {
      const chosen = this.layer * this.run.facts.spec.n_head + this.head;
      button.setAttribute("aria-pressed", String(number === chosen));
      button.tabIndex = number === chosen ? 0 : -1;
    });
    const { tokenizer } = this.run;
    const most = likeliest(weights, 3).filter((place) => weights[place] > 0.005);
    const name = (place) => `“${label(tokenizer, this.ids[place])}”`;
    const seen = most.map((place) => `${name(place)} ${percent(weights[place])}`).join(", ");
    const where = `Layer ${this.layer + 1}, head ${this.head + 1}`;
    byId("weights").textContent = `${where}: ${name(query)} looks most at ${seen}`;
    this.drawLens(query);
  }

  drawLens(query) {
    const rows = this.streams[query].map((stream, number) => {
      const logits = this.engine.logits(stream);
      const p = softmax(logits);
      const length = Math.hypot(...stream).toFixed(1);
      const words = likeliest(logits, 5).map((id) =>
        element("td", {}, `${label(this.run.tokenizer, id)} ${percent(p[id])}`),
      );
      const name = number === 0 ? "embedding" : `layer ${number}`;
      const first = element("th", { scope: "row" }, name);
      return element("tr", {}, first, element("td", { class: "number" }, length), ...words);
    });
    byId("lens").tBodies[0].replaceChildren(...rows);
  }
}

// Parameters by component.
function showParameters({ facts }) {
  const components = Object.entries(facts.components).filter(([, count]) => count > 0);
  const most = Math.max(...components.map(([, count]) => count));
  const rows = components.map(([name, count]) => {
    const made = bar(name, `${whole(count)} parameters`);
    made.line.remove();
    made.full.style.width = `${(100 * count) / most}%`;
    made.number.textContent = `${whole(count)} · ${percent(count / facts.parameters)}`;
    return made.row;
  });
  byId("parameters").replaceChildren(...rows);
}
