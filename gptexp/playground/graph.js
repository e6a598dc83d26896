// The graph of an expression, walked node by node: values forward, gradients back.
"use strict";

const NEURON = { w1: 1.2, x1: 0.5, w2: 0.7, x2: -1, b: 0.4 };
const EXAMPLES = {
  "An expression": ["L = (a*b + c) * f", { a: 2, b: -3, c: 10, f: -2 }],
  "A neuron, tanh": ["o = tanh(w1*x1 + w2*x2 + b)", NEURON],
  "A neuron, relu": ["o = relu(w1*x1 + w2*x2 + b)", NEURON],
  "A squared error": ["loss = (tanh(w*x + b) - y) ** 2", { w: 0.8, x: 1.5, b: -0.2, y: 1 }],
  "A token's loss": ["loss = -log(exp(a) / (exp(a) + exp(b)))", { a: 0.5, b: 1.5 }],
};
const OPERATORS = { "*": "×", "-": "−", "/": "÷", neg: "−" };
const MOST_NODES = 40; // that a picture has room for
const MOST_NAME = 18; // letters of what a node is called
const NUDGE = 0.01;
const NARROW = 600; // pixels below which the graph goes down and not across
const BOW = 52; // pixels by which an edge goes around the nodes that it passes
const PACE = 1100; // milliseconds between two steps that play by themselves

// A number as short as it can be read, with a sign that is as wide as a plus.
function compact(number, digits = 4) {
  if (Number.isNaN(number)) return "no number";
  if (!Number.isFinite(number)) return number > 0 ? "∞" : "−∞";
  return String(Number(number.toPrecision(digits))).replace("-", "−");
}

class GraphFigure {
  constructor() {
    this.numbers = new Map();
    this.timer = 0;
    const buttons = Object.keys(EXAMPLES).map((name) => {
      const button = element("button", { type: "button" }, name);
      button.addEventListener("click", () => this.example(name));
      return button;
    });
    byId("examples").append(...buttons);
    byId("expression").addEventListener("input", () => this.type());
    byId("walk").addEventListener("input", () => this.go(Number(byId("walk").value)));
    byId("walk-back").addEventListener("click", () => this.go(this.now - 1));
    byId("walk-next").addEventListener("click", () => this.go(this.now + 1));
    byId("walk-play").addEventListener("click", () => this.play());
    byId("graph").addEventListener("keydown", (event) => this.move(event));
    const fit = () => this.isNarrow !== this.narrow() && this.build();
    new ResizeObserver(fit).observe(byId("graph"));
    this.example("An expression");
  }

  narrow() {
    return byId("graph").clientWidth < NARROW;
  }

  example(name) {
    const [text, numbers] = EXAMPLES[name];
    byId("expression").value = text;
    for (const [variable, number] of Object.entries(numbers)) this.numbers.set(variable, number);
    this.type();
  }

  // Read what is typed; the graph stays as it was where that has no meaning.
  type() {
    this.halt();
    if (!this.read()) return;
    const fields = [...this.typed.variables].map(([name, { data }]) => {
      const field = element("input", { type: "number", step: "0.1", value: data });
      field.addEventListener("input", () => {
        if (field.value === "") return;
        this.numbers.set(name, Number(field.value));
        if (this.read()) this.build();
      });
      return element("label", {}, name, field);
    });
    byId("variables").replaceChildren(...fields);
    this.now = this.last;
    this.build();
  }

  read() {
    const says = byId("expression-problem");
    try {
      const typed = new Expression(byId("expression").value, this.numbers);
      const order = typed.root.backward();
      if (order.length > MOST_NODES) throw new ExpressionError(`At most ${MOST_NODES} nodes.`);
      Object.assign(this, { typed, order, operations: order.filter((n) => n.children.length) });
    } catch (error) {
      if (!(error instanceof ExpressionError)) throw error;
      says.textContent = error.message;
      return false;
    }
    this.last = 2 * this.operations.length + 1;
    const lost = this.order.find(({ data, grad }) => !Number.isFinite(data + grad));
    const what = lost && (Number.isFinite(lost.data) ? "the gradient of " : "") + this.called(lost);
    says.textContent = lost ? `${what} is no finite number here: choose other values.` : "";
    return true;
  }

  called(node) {
    const name = this.typed.texts.get(node);
    return name.length > MOST_NAME ? `${name.slice(0, MOST_NAME - 1)}…` : name;
  }

  // The local derivative of a node by its child number i, in words.
  local({ op, data, children: [a, b] }, i) {
    const same = "passed on as it is";
    const other = (node) => node && `${this.called(node)} = ${compact(node.data)}`;
    const words = {
      "+": [same, same],
      "-": [same, "with the sign turned"],
      "*": [`the other factor, ${other(b)}`, `the other factor, ${other(a)}`],
      "/": ["1 over the divisor", "minus the dividend over the divisor squared"],
      "**": ["n · x to the n − 1", "the power, times ln of its base"],
      neg: ["with the sign turned"],
      exp: ["exp is its own slope"],
      log: [`1 over ${other(a)}`],
      tanh: [`1 − tanh², and tanh is ${compact(data)}`],
      relu: [a.data > 0 ? "1 above 0" : "0 where it is not above 0"],
    };
    return words[op][i];
  }

  // Of each node how far it is from the root, and its place across: that of what it is made of, and
  // one of its own for each leaf and for what is made of nothing but what stood there before.
  places() {
    const [depths, slots, layers] = [new Map([[this.typed.root, 0]]), new Map(), []];
    for (const node of [...this.order].reverse()) {
      const deeper = depths.get(node) + 1;
      for (const child of node.children) {
        depths.set(child, Math.max(depths.get(child) ?? 0, deeper));
      }
    }
    const used = new Set();
    let taken = 0;
    for (const node of this.order) {
      const below = node.children.map((child) => slots.get(child));
      const isNew = node.children.every((child) => used.has(child));
      slots.set(node, isNew ? taken++ : below.reduce((a, b) => a + b) / below.length);
      for (const child of node.children) used.add(child);
      (layers[depths.get(node)] ??= []).push(node);
    }
    for (const layer of layers) {
      layer.sort((a, b) => slots.get(a) - slots.get(b));
      layer.slice(1).forEach((node, i) => {
        slots.set(node, Math.max(slots.get(node), slots.get(layer[i]) + 1));
      });
    }
    return { depths, slots, deepest: layers.length - 1 };
  }

  build() {
    this.isNarrow = this.narrow();
    const { depths, slots, deepest } = this.places();
    const [width, height] = [this.isNarrow ? 66 : 92, 56];
    const [along, across] = this.isNarrow ? [94, 70] : [152, 66];
    const at = (node) => {
      const place = [(deepest - depths.get(node)) * along + 2, slots.get(node) * across + 2];
      return this.isNarrow ? place.reverse() : place;
    };
    const corner = [0, 1].map((axis) => Math.max(...this.order.map((node) => at(node)[axis])));
    const size = { width: corner[0] + width + 16, height: corner[1] + height + 16 };
    const words = `The graph of ${this.typed.name}; arrow keys go from node to node`;
    const svg = drawn("svg", { ...size, role: "group", "aria-label": words });
    const join = (node) =>
      node.children.map((child, i) => {
        const steps = depths.get(child) - depths.get(node);
        const [from, to] = [slots.get(child), slots.get(node)];
        const isInTheWay = (other) => {
          const share = (depths.get(child) - depths.get(other)) / steps;
          const apart = Math.abs(slots.get(other) - from - share * (to - from));
          return share > 0 && share < 1 && apart < 0.8;
        };
        const bow = this.order.some(isInTheWay) ? BOW : 0;
        const isTwice = i > 0 && child === node.children[0]; // of x * x
        return this.join(at(child), at(node), width, height, { steps, bow, isTwice });
      });
    this.edges = new Map(this.operations.map((node) => [node, join(node)]));
    this.boxes = new Map(this.order.map((node) => [node, this.box(node, at(node), width, height)]));
    const edges = [...this.edges.values()].flat();
    svg.append(...edges.map(({ line }) => line), ...this.boxes.values());
    svg.append(...edges.map(({ text }) => text));
    this.boxes.get(this.typed.root).setAttribute("tabindex", 0);
    byId("node-words").textContent = "";
    byId("graph").replaceChildren(svg);
    this.go(this.now);
  }

  // An edge over so many layers, with room for the local derivative near its beginning.
  join([x, y], [u, v], width, height, { steps, bow, isTwice }) {
    const [from, to] = this.isNarrow
      ? [[x + width / 2, y + height], [u + width / 2, v]]
      : [[x + width, y + height / 2], [u, v + height / 2]];
    const [right, down] = [to[0] - from[0], to[1] - from[1]];
    const bend = ([a, b], side) =>
      this.isNarrow ? [a + bow, b + (side * down) / 2] : [a + (side * right) / 2, b + bow];
    const points = [from, bend(from, 1), bend(to, -1), to];
    const [start, ...rest] = points.map((point) => point.join(" "));
    const line = drawn("path", { d: `M${start}C${rest.join(" ")}` });
    const t = steps > 1 ? 0.2 / steps : 0.5;
    const shares = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t ** 3];
    const at = (axis) => shares.reduce((all, share, i) => all + share * points[i][axis], 0);
    const place = { x: at(0), y: at(1) + (isTwice ? 17 : 4) };
    return { line, text: drawn("text", { class: "slope", "text-anchor": "middle", ...place }) };
  }

  box(node, [x, y], width, height) {
    const group = drawn("g", { role: "button", tabindex: -1 });
    const sign = node.children.length ? (OPERATORS[node.op] ?? node.op) : this.called(node);
    const name = node === this.typed.root ? `${this.typed.name}  ${sign}` : sign;
    group.append(
      drawn("rect", { x, y, width, height, rx: 6 }),
      drawn("text", { class: "name", x: x + 8, y: y + 16 }, name),
      drawn("text", { class: "value", x: x + 8, y: y + 32 }),
      drawn("text", { class: "grad", x: x + 8, y: y + 48 }),
    );
    group.addEventListener("click", () => this.choose(node));
    return group;
  }

  // Show the graph as it stands after so many steps: values first, the root's own gradient, and
  // then one node after another passes its gradient on.
  go(step) {
    this.now = Math.min(Math.max(step, 0), this.last);
    const { operations, now, last } = this;
    const count = operations.length;
    const unknown = new Set(operations.slice(now));
    const grads = new Map(now > count ? [[this.typed.root, 1]] : []);
    const passed = [...operations].reverse().slice(0, Math.max(now - count - 1, 0));
    for (const node of passed) {
      node.children.forEach((child, i) => {
        grads.set(child, (grads.get(child) ?? 0) + node.slopes[i] * grads.get(node));
      });
    }
    const at = now <= count ? operations[now - 1] : (passed.at(-1) ?? this.typed.root);
    this.show(at, unknown, grads, now > count);
    byId("walk").max = String(last);
    byId("walk").value = String(now);
    byId("walk").setAttribute("aria-valuetext", `step ${now} of ${last}`);
    byId("walk-back").disabled = now === 0;
    byId("walk-next").disabled = now === last;
    byId("walk-words").textContent = `${now} of ${last}: ${this.words(at, grads)}`;
  }

  show(at, unknown, grads, isBack) {
    const how = isBack ? " back" : " at";
    for (const [node, box] of this.boxes) {
      const digits = this.isNarrow ? 3 : 4;
      const value = unknown.has(node) ? "" : compact(node.data, digits);
      const grad = grads.has(node) ? compact(grads.get(node), digits) : "";
      box.querySelector(".value").textContent = value;
      box.querySelector(".grad").textContent = grad && `∂ ${grad}`;
      box.setAttribute("class", `node${node === at ? how : ""}`);
      const words = [`value ${value || "not yet known"}`, ...(grad ? [`gradient ${grad}`] : [])];
      box.setAttribute("aria-label", `${this.called(node)}: ${words.join(", ")}`);
    }
    for (const [node, edges] of this.edges) {
      const isAt = node === at && this.now !== this.operations.length + 1;
      edges.forEach(({ line, text }, i) => {
        line.setAttribute("class", `edge${isAt ? how : ""}`);
        text.textContent = isAt && isBack ? `×${compact(node.slopes[i], 3)}` : "";
      });
    }
  }

  words(at, grads) {
    const { name, root } = this.typed;
    const count = this.operations.length;
    if (this.now === 0) return "the numbers that are given. Next computes the first from them.";
    if (this.now <= count) return `forward, ${this.called(at)} = ${compact(at.data)}.`;
    if (this.now === count + 1) return `the way back begins with ${name}, whose own gradient is 1.`;
    const parts = at.children.map((child, i) => {
      const share = at.slopes[i] * grads.get(at);
      const product = `${compact(at.slopes[i])} × ${compact(grads.get(at))} = ${compact(share)}`;
      const isMore = Math.abs(grads.get(child) - share) > 1e-12;
      const sum = isMore ? `, in all ${compact(grads.get(child))}` : "";
      return `${this.called(child)} gets ${product}${sum} (${this.local(at, i)})`;
    });
    return `back through ${at === root ? name : this.called(at)}, ${parts.join("; ")}.`;
  }

  // What a node's gradient means, and for a variable whether that is so.
  choose(node) {
    for (const [other, box] of this.boxes) box.setAttribute("tabindex", other === node ? 0 : -1);
    const { name, root, variables } = this.typed;
    const change = NUDGE * node.grad;
    const about = `${name} ${change < 0 ? "falls" : "grows"} by about ${compact(Math.abs(change))}`;
    let really = "";
    if (variables.get(node.op) === node) {
      const numbers = new Map(this.numbers).set(node.op, node.data + NUDGE);
      const moved = new Expression(byId("expression").value, numbers).root.data - root.data;
      really = `, in truth by ${compact(Math.abs(moved))}`;
    }
    const local = node.children.map((child, i) => {
      const slope = compact(node.slopes[i]);
      return ` To ${this.called(child)} it passes that times ${slope}: ${this.local(node, i)}.`;
    });
    byId("node-words").textContent =
      `${this.called(node)} is ${compact(node.data)}, with a gradient of ${compact(node.grad)}: ` +
      `where it grows by ${NUDGE}, ${about}${really}.${local.join("")}`;
  }

  move(event) {
    const at = this.order.findIndex((node) => this.boxes.get(node) === document.activeElement);
    const step = event.key === "Enter" || event.key === " " ? 0 : along(event);
    const node = this.order[at + step];
    if (at < 0 || !node) return;
    event.preventDefault();
    this.boxes.get(node).focus();
    this.choose(node);
  }

  play() {
    if (this.timer) return this.halt();
    byId("walk-play").textContent = "Pause";
    this.go(this.now === this.last ? 0 : this.now + 1);
    this.timer = setInterval(() => {
      this.go(this.now + 1);
      if (this.now === this.last) this.halt();
    }, PACE);
  }

  halt() {
    clearInterval(this.timer);
    this.timer = 0;
    byId("walk-play").textContent = "Play";
  }
}

new GraphFigure();
