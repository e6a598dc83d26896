// microGPT over scalars that differentiate themselves, and one update of it on one document.
"use strict";

const ADAM_EPS = 1e-8;

const scalarDot = (x, y) => x.map((value, i) => value.times(y[i])).reduce((a, b) => a.plus(b));
const scalarSum = (x, y) => x.map((value, i) => value.plus(y[i]));

function scalarNormed(x, eps) {
  const square = scalarDot(x, x).times(new Value(1 / x.length)).plus(new Value(eps));
  const scale = square.power(new Value(-0.5));
  return x.map((value) => value.times(scale));
}

// ln of the softmax: the highest becomes 0 first, so nothing overflows.
function scalarLogSoftmax(x) {
  const top = new Value(Math.max(...x.map(({ data }) => data)));
  const shifted = x.map((value) => value.minus(top));
  const total = shifted.map((value) => value.exp()).reduce((a, b) => a.plus(b)).log();
  return shifted.map((value) => value.minus(total));
}

// Every weight of a packed model as a Value, under the names of the engine: each matrix is rows
// [nout][nin] of Values.
class ScalarModel {
  constructor({ spec, tensors }, weights) {
    this.spec = spec;
    this.matrices = new Map();
    for (const { name, shape: [, width] } of tensors) {
      const values = Array.from(weights.get(name), (data) => new Value(data));
      const rows = Array.from({ length: values.length / width }, (_, row) =>
        values.slice(row * width, (row + 1) * width),
      );
      this.matrices.set(name.replace(/\.weight$/, ""), rows);
    }
  }

  get parameters() {
    return [...this.matrices.values()].flat(2);
  }

  linear(name, x) {
    return this.matrices.get(name).map((row) => scalarDot(row, x));
  }

  // ln p of each target, [time] Values; `ids` is a document between its two ends, of which the
  // context holds the first block_size targets.
  logLikelihoods(ids) {
    const { n_layer: layers, block_size: most, norm_eps: eps } = this.spec;
    const cache = Array.from({ length: layers }, () => ({ keys: [], values: [] }));
    return ids.slice(1, most + 1).map((target, place) => {
      const embedded = [["token_table", ids[place]], ["position_table", place]];
      const [token, position] = embedded.map(([name, row]) => this.matrices.get(name)[row]);
      let x = scalarNormed(scalarSum(token, position), eps);
      cache.forEach((past, layer) => {
        x = scalarSum(x, this.attend(layer, scalarNormed(x, eps), past));
        const units = this.linear(`blocks.${layer}.mlp.up`, scalarNormed(x, eps));
        x = scalarSum(x, this.linear(`blocks.${layer}.mlp.proj`, units.map((unit) => unit.relu())));
      });
      return scalarLogSoftmax(this.linear("head", x))[target];
    });
  }

  attend(layer, x, { keys, values }) {
    const { n_embd: width, head_width: size } = this.spec;
    const qkv = this.linear(`blocks.${layer}.attention.qkv`, x);
    const q = qkv.slice(0, width);
    keys.push(qkv.slice(width, 2 * width));
    values.push(qkv.slice(2 * width));
    const scale = new Value(1 / Math.sqrt(size));
    const mixed = [];
    for (let from = 0; from < width; from += size) {
      const part = (vector) => vector.slice(from, from + size);
      const scores = keys.map((key) => scalarDot(part(q), part(key)).times(scale));
      const weights = scalarLogSoftmax(scores).map((each) => each.exp());
      for (let i = from; i < from + size; i++) {
        mixed.push(scalarDot(weights, values.map((value) => value[i])));
      }
    }
    return this.linear(`blocks.${layer}.attention.proj`, mixed);
  }

  // The mean loss over a document in nats, and ln p of each of its targets.
  loss(ids) {
    const logs = this.logLikelihoods(ids);
    const mean = logs.reduce((a, b) => a.plus(b)).times(new Value(-1 / logs.length));
    return { mean, logs: logs.map(({ data }) => data) };
  }
}

// A model that learns one document, update by update, by SGD or Adam (Kingma and Ba 2015).
class Learner {
  constructor(facts, weights, { optimizer, lr, beta1, beta2 }) {
    this.model = new ScalarModel(facts, weights);
    this.parameters = this.model.parameters;
    Object.assign(this, { optimizer, lr, beta1, beta2, updates: 0 });
    this.means = new Float64Array(this.parameters.length);
    this.squares = new Float64Array(this.parameters.length);
  }

  // One update: how many values the loss was made of, the loss and ln p of each target before it,
  // and of each parameter the number before, the gradient and the number after.
  update(ids) {
    for (const parameter of this.parameters) parameter.grad = 0;
    const { mean, logs } = this.model.loss(ids);
    const size = mean.backward().length;
    this.updates++;
    const before = Float64Array.from(this.parameters, ({ data }) => data);
    const gradient = Float64Array.from(this.parameters, ({ grad }) => grad);
    this.parameters.forEach((parameter, i) => {
      parameter.data -= this.lr * this.direction(i, gradient[i]);
    });
    const after = Float64Array.from(this.parameters, ({ data }) => data);
    return { size, loss: mean.data, logs, before, gradient, after };
  }

  direction(i, gradient) {
    if (this.optimizer !== "adam") return gradient;
    const { beta1, beta2, updates } = this;
    this.means[i] = beta1 * this.means[i] + (1 - beta1) * gradient;
    this.squares[i] = beta2 * this.squares[i] + (1 - beta2) * gradient * gradient;
    // Both began at 0: the corrections take the share of that beginning out.
    const mean = this.means[i] / (1 - beta1 ** updates);
    const square = this.squares[i] / (1 - beta2 ** updates);
    return mean / (Math.sqrt(square) + ADAM_EPS);
  }
}
