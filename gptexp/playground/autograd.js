// Numbers that remember what they were computed from, and gradients back through them: the scalar
// engine of gptexp/reference.py, with the operations that a person types.
"use strict";

class Value {
  // `slopes` are the local derivatives d(this)/d(child), one for each of `children`.
  constructor(data, children = [], slopes = [], op = "") {
    this.data = data;
    this.children = children;
    this.slopes = slopes;
    this.op = op;
    this.grad = 0;
  }

  plus(other) {
    return new Value(this.data + other.data, [this, other], [1, 1], "+");
  }

  minus(other) {
    return new Value(this.data - other.data, [this, other], [1, -1], "-");
  }

  times(other) {
    return new Value(this.data * other.data, [this, other], [other.data, this.data], "*");
  }

  over(other) {
    const slopes = [1 / other.data, -this.data / (other.data * other.data)];
    return new Value(this.data / other.data, [this, other], slopes, "/");
  }

  // The exponent has a slope where ln of the base has a value, and else none, so that (-3) ** 2 is
  // as good as any; at a base of 0 it is 0, as torch has it.
  power(other) {
    const [base, exponent] = [this.data, other.data];
    const data = base ** exponent;
    const slope = exponent === 0 ? 0 : exponent * base ** (exponent - 1);
    const turn = base > 0 ? data * Math.log(base) : 0;
    return new Value(data, [this, other], [slope, turn], "**");
  }

  negative() {
    return new Value(-this.data, [this], [-1], "neg");
  }

  exp() {
    const data = Math.exp(this.data);
    return new Value(data, [this], [data], "exp");
  }

  log() {
    return new Value(Math.log(this.data), [this], [1 / this.data], "log");
  }

  tanh() {
    const data = Math.tanh(this.data);
    return new Value(data, [this], [1 - data * data], "tanh");
  }

  relu() {
    return new Value(Math.max(this.data, 0), [this], [this.data > 0 ? 1 : 0], "relu");
  }

  // All values below and this one, children before what is made of them; at any depth.
  order() {
    const [found, path, done] = [new Set([this]), [[this, 0]], []];
    while (path.length) {
      const top = path[path.length - 1];
      const child = top[0].children[top[1]++];
      if (child === undefined) done.push(path.pop()[0]);
      else if (!found.has(child)) {
        found.add(child);
        path.push([child, 0]);
      }
    }
    return done;
  }

  // Add d(this)/d(v) to the gradient of every v below; returns them all, as `order` does.
  backward() {
    const all = this.order();
    this.grad = 1;
    for (let i = all.length - 1; i >= 0; i--) all[i].pass();
    return all;
  }

  // Add this gradient, times the local derivatives, to those of the children.
  pass() {
    this.children.forEach((child, i) => {
      child.grad += this.slopes[i] * this.grad;
    });
  }
}
