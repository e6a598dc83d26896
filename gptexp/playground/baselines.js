// The smaller models: a perceptron over a few tokens, and counts of pairs.
"use strict";

// A perceptron over the last `context` tokens, zeros where there are fewer.
class MLPEngine {
  constructor(spec, weights) {
    this.spec = spec;
    this.weights = weights;
    this.capacity = Infinity;
    this.reset();
  }

  reset() {
    this.ids = [];
    this.length = 0;
  }

  rewind() {
    this.reset();
  }

  read(id) {
    const { spec, weights } = this;
    const table = weights.get("token_table.weight");
    this.ids = [...this.ids, id].slice(-Math.min(spec.context, spec.block_size));
    this.length++;
    const x = new Float32Array(spec.context * spec.n_embd);
    this.ids.forEach((each, i) => {
      const row = table.subarray(each * spec.n_embd, (each + 1) * spec.n_embd);
      x.set(row, (spec.context - this.ids.length + i) * spec.n_embd);
    });
    const units = linear(weights.get("up.weight"), x, undefined, new Float32Array(spec.n_hidden));
    for (let i = 0; i < units.length; i++) units[i] = Math.max(units[i], 0);
    return linear(weights.get("head.weight"), units, undefined, new Float32Array(spec.vocab_size));
  }
}

// Counts of what followed each token, as smoothed log-probabilities.
class BigramEngine {
  constructor(spec, weights) {
    this.spec = spec;
    this.counts = weights.get("counts");
    this.capacity = Infinity;
    this.reset();
  }

  reset() {
    this.length = 0;
  }

  rewind() {
    this.reset();
  }

  read(id) {
    const { vocab_size: size, smoothing } = this.spec;
    this.length++;
    const counts = this.counts.subarray(id * size, (id + 1) * size);
    const row = Float64Array.from(counts, (count) => count + smoothing);
    const total = Math.log(row.reduce((all, each) => all + each, 0));
    return Float32Array.from(row, (count) => Math.log(count) - total);
  }
}
