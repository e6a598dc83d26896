// Where the nodes of a graph stand, and how its edges go: from left to right, or down a phone.
"use strict";

const BOW = 52; // pixels by which an edge goes around the nodes that it passes
const NEAR = 0.8; // places between an edge and a node that is in its way

class GraphLayout {
  // `order` has the nodes below the root and the root, children before what is made of them.
  constructor(root, order, isNarrow) {
    Object.assign(this, { order, isNarrow, height: 56 });
    [this.width, this.along, this.across] = isNarrow ? [66, 94, 70] : [92, 152, 66];
    this.depths = new Map([[root, 0]]); // how far each node is from the root
    for (const node of [...order].reverse()) {
      const deeper = this.depths.get(node) + 1;
      for (const child of node.children) {
        this.depths.set(child, Math.max(this.depths.get(child) ?? 0, deeper));
      }
    }
    this.slots = this.places();
    this.deepest = Math.max(...this.depths.values());
  }

  // The place of each node across: that of what it is made of, and one of its own for each leaf and
  // for what is made of nothing but what stood there before.
  places() {
    const [slots, used, layers] = [new Map(), new Set(), []];
    let taken = 0;
    for (const node of this.order) {
      const below = node.children.map((child) => slots.get(child));
      const isNew = node.children.every((child) => used.has(child));
      slots.set(node, isNew ? taken++ : below.reduce((a, b) => a + b) / below.length);
      for (const child of node.children) used.add(child);
      (layers[this.depths.get(node)] ??= []).push(node);
    }
    for (const layer of layers) {
      layer.sort((a, b) => slots.get(a) - slots.get(b));
      layer.slice(1).forEach((node, i) => {
        slots.set(node, Math.max(slots.get(node), slots.get(layer[i]) + 1));
      });
    }
    return slots;
  }

  // The corner of a node's box.
  at(node) {
    const along = (this.deepest - this.depths.get(node)) * this.along + 2;
    const across = this.slots.get(node) * this.across + 2;
    return this.isNarrow ? [across, along] : [along, across];
  }

  size() {
    const corners = this.order.map((node) => this.at(node));
    const [right, low] = [0, 1].map((axis) => Math.max(...corners.map((corner) => corner[axis])));
    return { width: right + this.width + 16, height: low + this.height + 16 };
  }

  // The path from a node's child number i to it, and a place for a word near its beginning.
  edge(node, i) {
    const child = node.children[i];
    const { width, height, isNarrow } = this;
    const [[x, y], [u, v]] = [this.at(child), this.at(node)];
    const [from, to] = isNarrow
      ? [[x + width / 2, y + height], [u + width / 2, v]]
      : [[x + width, y + height / 2], [u, v + height / 2]];
    const [right, down] = [to[0] - from[0], to[1] - from[1]];
    const bow = this.isBlocked(child, node) ? BOW : 0;
    const bend = ([a, b], side) =>
      isNarrow ? [a + bow, b + (side * down) / 2] : [a + (side * right) / 2, b + bow];
    const points = [from, bend(from, 1), bend(to, -1), to];
    const [start, ...rest] = points.map((point) => point.join(" "));
    const steps = this.depths.get(child) - this.depths.get(node);
    const t = steps > 1 ? 0.2 / steps : 0.5;
    const shares = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t ** 3];
    const at = (axis) => shares.reduce((all, share, k) => all + share * points[k][axis], 0);
    const isTwice = i > 0 && child === node.children[0]; // of x * x
    return { d: `M${start}C${rest.join(" ")}`, x: at(0), y: at(1) + (isTwice ? 17 : 4) };
  }

  // Whether a node stands on the way from one to another.
  isBlocked(child, node) {
    const [from, to] = [child, node].map((each) => [this.depths.get(each), this.slots.get(each)]);
    return this.order.some((other) => {
      const share = (from[0] - this.depths.get(other)) / (from[0] - to[0]);
      const apart = this.slots.get(other) - from[1] - share * (to[1] - from[1]);
      return share > 0 && share < 1 && Math.abs(apart) < NEAR;
    });
  }
}
