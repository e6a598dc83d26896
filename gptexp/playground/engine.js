// The GPT of gptexp in plain JavaScript: token by token, with a cache of keys and values.
"use strict";

const RMS_EPS = 2 ** -23; // of queries and keys: torch's own, the step behind 1 in float32

// The engine of a model's kind.
function engineOf(spec, weights) {
  const kinds = { gpt: GPTEngine, mlp: MLPEngine, bigram: BigramEngine };
  return new kinds[spec.kind](spec, weights);
}

// y = W x + b, with W [y.length, x.length]; b may be undefined. Four rows share each read of x,
// which is half as fast again as one after another.
function linear(W, x, b, y) {
  const width = x.length;
  const whole = y.length - (y.length % 4);
  for (let row = 0, at = 0; row < whole; row += 4, at += 4 * width) {
    let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    const [second, third, fourth] = [at + width, at + 2 * width, at + 3 * width];
    for (let i = 0; i < width; i++) {
      const value = x[i];
      s0 += W[at + i] * value;
      s1 += W[second + i] * value;
      s2 += W[third + i] * value;
      s3 += W[fourth + i] * value;
    }
    y[row] = s0;
    y[row + 1] = s1;
    y[row + 2] = s2;
    y[row + 3] = s3;
  }
  for (let row = whole; row < y.length; row++) {
    let sum = 0;
    for (let i = 0, at = row * width; i < width; i++, at++) sum += W[at] * x[i];
    y[row] = sum;
  }
  if (b !== undefined) add(y, b);
  return y;
}

function add(x, y) {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
}

// x over the root of its mean square, with that in place of x.
function rmsNormed(x, eps, y) {
  let square = 0;
  for (let i = 0; i < x.length; i++) square += x[i] * x[i];
  const scale = 1 / Math.sqrt(square / x.length + eps);
  for (let i = 0; i < x.length; i++) y[i] = x[i] * scale;
  return y;
}

function layerNormed(x, eps, y) {
  let mean = 0, variance = 0;
  for (let i = 0; i < x.length; i++) mean += x[i];
  mean /= x.length;
  for (let i = 0; i < x.length; i++) variance += (x[i] - mean) ** 2;
  const scale = 1 / Math.sqrt(variance / x.length + eps);
  for (let i = 0; i < x.length; i++) y[i] = (x[i] - mean) * scale;
  return y;
}

// The error function within 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26).
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series =
    t * (1.421413741 + t * (-1.453152027 + t * 1.061405429));
  const y = 1 - t * (0.254829592 + t * (-0.284496736 + series)) * Math.exp(-x * x);
  return x < 0 ? -y : y;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const gelu = (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2));
const silu = (x) => x * sigmoid(x);
const ACTIVATIONS = {
  gelu,
  gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  relu: (x) => Math.max(x, 0),
  relu2: (x) => Math.max(x, 0) ** 2,
  silu,
  swiglu: silu,
  geglu: gelu,
};

// A GPT over the tokens that it has read since `reset`, `capacity` at most.
class GPTEngine {
  constructor(spec, weights) {
    this.spec = spec;
    this.weights = weights;
    this.capacity = spec.block_size;
    const width = spec.n_embd;
    const stored = spec.kv_heads * spec.head_width;
    this.activation = ACTIVATIONS[spec.activation];
    this.normed = new Float32Array(width);
    this.branch = new Float32Array(width);
    this.mixed = new Float32Array(width);
    this.qkv = new Float32Array(width + 2 * stored);
    this.units = new Float32Array(spec.gated ? 2 * spec.hidden : spec.hidden);
    this.blocks = Array.from({ length: spec.n_layer }, (_, layer) => {
      const of = (part) => weights.get(`blocks.${layer}.${part}`);
      const norm = (part) => ({ gain: of(`${part}.weight`), bias: of(`${part}.bias`) });
      const matrix = (part) => ({ W: of(`${part}.weight`), b: of(`${part}.bias`) });
      return {
        attentionNorm: norm("attention_norm"),
        qkv: matrix("attention.qkv"),
        proj: matrix("attention.proj"),
        mlpNorm: norm("mlp_norm"),
        up: matrix("mlp.up"),
        down: matrix("mlp.proj"),
        window: spec.windows[layer] || this.capacity,
        keys: new Float32Array(this.capacity * stored),
        values: new Float32Array(this.capacity * stored),
      };
    });
    const norm = (part) => {
      return { gain: weights.get(`${part}.weight`), bias: weights.get(`${part}.bias`) };
    };
    this.embdNorm = spec.embd_norm ? norm("embd_norm") : null;
    this.finalNorm = spec.final_norm ? norm("final_norm") : null;
    this.head = weights.get(spec.tie_head ? "token_table.weight" : "head.weight");
    const pairs = Math.floor(spec.head_width / 2);
    this.ids = new Int32Array(this.capacity); // that it has read, as far as `length`
    this.rates = Float64Array.from({ length: pairs }, (_, i) => spec.rope_base ** (-i / pairs));
    this.reset();
  }

  reset() {
    this.length = 0;
  }

  // Forget all behind the first of `ids` that it has not read there; and the last of them.
  rewind(ids) {
    const known = ids.slice(0, -1).findIndex((id, i) => i >= this.length || id !== this.ids[i]);
    this.length = known < 0 ? ids.length - 1 : known;
  }

  // The logits of what follows `id`; `look(layer, stream, weights)` is shown each layer's results,
  // and layer -1 the embedding. Its arrays are good until it returns.
  read(id, look) {
    const { spec, weights } = this;
    const width = spec.n_embd;
    if (this.length === this.capacity) throw new RangeError("the context is full");
    const row = (table, i) => weights.get(`${table}.weight`).subarray(i * width, (i + 1) * width);
    const x = Float32Array.from(row("token_table", id));
    if (spec.position === "learned") add(x, row("position_table", this.length));
    if (this.embdNorm) x.set(this.norm(this.embdNorm, x));
    if (look) look(-1, x, []);
    this.blocks.forEach((block, layer) => {
      const seen = look ? [] : null;
      add(x, this.attend(block, this.norm(block.attentionNorm, x), seen));
      add(x, this.perceive(block, this.norm(block.mlpNorm, x)));
      if (look) look(layer, x, seen);
    });
    this.ids[this.length++] = id;
    return this.logits(x);
  }

  // What the head makes of a stream [n_embd], after any layer.
  logits(x) {
    const normed = this.finalNorm ? this.norm(this.finalNorm, x) : x;
    return linear(this.head, normed, undefined, new Float32Array(this.spec.vocab_size));
  }

  norm({ gain, bias }, x) {
    const y = this.normed;
    if (this.spec.norm === "rmsnorm") rmsNormed(x, this.spec.norm_eps, y);
    else layerNormed(x, this.spec.norm_eps, y);
    if (gain) for (let i = 0; i < y.length; i++) y[i] *= gain[i];
    if (bias) add(y, bias);
    return y;
  }

  // The attention branch of a layer for the newest token; weights of each head go to `seen`.
  attend(block, x, seen) {
    const { spec, qkv, mixed } = this;
    const { n_head: heads, kv_heads: stored, head_width: width } = spec;
    const kept = stored * width;
    linear(block.qkv.W, x, block.qkv.b, qkv);
    for (let head = 0; head < heads + stored; head++) {
      this.turn(qkv.subarray(head * width, (head + 1) * width));
    }
    block.keys.set(qkv.subarray(heads * width, heads * width + kept), this.length * kept);
    block.values.set(qkv.subarray(heads * width + kept), this.length * kept);
    const from = Math.max(0, this.length + 1 - block.window);
    const scale = 1 / Math.sqrt(width);
    const scores = new Float64Array(this.length + 1);
    for (let head = 0; head < heads; head++) {
      const q = head * width;
      const shift = Math.floor((head * stored) / heads) * width;
      let most = -Infinity;
      for (let t = from; t <= this.length; t++) {
        let score = 0;
        const at = t * kept + shift;
        for (let i = 0; i < width; i++) score += qkv[q + i] * block.keys[at + i];
        scores[t] = score * scale;
        if (scores[t] > most) most = scores[t];
      }
      let total = 0;
      for (let t = from; t <= this.length; t++) total += scores[t] = Math.exp(scores[t] - most);
      mixed.fill(0, q, q + width);
      for (let t = from; t <= this.length; t++) {
        scores[t] /= total;
        const at = t * kept + shift;
        for (let i = 0; i < width; i++) mixed[q + i] += scores[t] * block.values[at + i];
      }
      if (seen) seen.push(Float32Array.from(scores));
    }
    return linear(block.proj.W, mixed, block.proj.b, this.branch);
  }

  // A query or key of one head, normed and turned by its position, in place.
  turn(part) {
    if (this.spec.qk_norm) rmsNormed(part, RMS_EPS, part);
    if (this.spec.position !== "rope") return;
    for (let pair = 0; pair < this.rates.length; pair++) {
      const angle = this.length * this.rates[pair];
      const cos = Math.cos(angle), sin = Math.sin(angle);
      const one = part[2 * pair], other = part[2 * pair + 1];
      part[2 * pair] = one * cos - other * sin;
      part[2 * pair + 1] = other * cos + one * sin;
    }
  }

  // The MLP branch of a layer.
  perceive(block, x) {
    const { units, activation } = this;
    const { hidden, gated } = this.spec;
    linear(block.up.W, x, block.up.b, units);
    for (let i = 0; i < hidden; i++) {
      units[i] = activation(units[i]) * (gated ? units[hidden + i] : 1);
    }
    return linear(block.down.W, units.subarray(0, hidden), block.down.b, this.branch);
  }
}
