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

  build() {
    this.isNarrow = this.narrow();
    const { root, name } = this.typed;
    const layout = new GraphLayout(root, this.order, this.isNarrow);
    const words = `The graph of ${name}; arrow keys go from node to node`;
    const svg = drawn("svg", { ...layout.size(), role: "group", "aria-label": words });
    const edges = (node) =>
      node.children.map((_, i) => {
        const { d, x, y } = layout.edge(node, i);
        const text = drawn("text", { class: "slope", "text-anchor": "middle", x, y });
        return { line: drawn("path", { d }), text };
      });
    this.edges = new Map(this.operations.map((node) => [node, edges(node)]));
    this.boxes = new Map(this.order.map((node) => [node, this.box(node, layout)]));
    const all = [...this.edges.values()].flat();
    svg.append(...all.map(({ line }) => line), ...this.boxes.values());
    svg.append(...all.map(({ text }) => text));
    this.boxes.get(root).setAttribute("tabindex", 0);
    byId("node-words").textContent = "";
    byId("graph").replaceChildren(svg);
    this.go(this.now);
  }

  box(node, layout) {
    const [x, y] = layout.at(node);
    const { width, height } = layout;
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
