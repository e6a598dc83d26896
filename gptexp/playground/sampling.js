// How a token is drawn: the dials of inference/dials.py, in the same order.
"use strict";

const COLDEST = 1e-30;

// Logits in which the tokens of `context` are less likely, but for `spared`, which ends a document.
function penalised(logits, context, penalty, spared) {
  if (penalty === 1) return logits;
  const lowered = Float64Array.from(logits);
  for (const id of new Set(context)) {
    if (id !== spared) lowered[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
  }
  return lowered;
}

// Probabilities of the tokens in the draw, by logits that are penalised already; 0 for those that
// the dials leave out.
//
// Temperature 0 leaves the likeliest alone. Else top_k leaves the k highest logits; logits are
// divided by the temperature, and their softmax is the probabilities; top_p leaves the fewest of
// the likeliest that come to p, with the one that reaches it; min_p those at least p times as
// likely as the likeliest.
function distribution(logits, { temperature, topK, topP, minP }) {
  if (temperature >= COLDEST && !topK && topP >= 1 && !minP) return softmax(logits, temperature);
  const order = Array.from(logits, (_, i) => i).sort((a, b) => logits[b] - logits[a] || a - b);
  const left = new Float64Array(logits.length).fill(-Infinity);
  const count = temperature < COLDEST ? 1 : topK || order.length;
  for (const i of order.slice(0, count)) left[i] = logits[i];
  const heat = Math.max(temperature, COLDEST);
  if (topP < 1) {
    const drawn = softmax(left, heat);
    let likelier = 0;
    for (const i of order) {
      if (likelier >= topP) left[i] = -Infinity;
      likelier += drawn[i];
    }
  }
  const floor = Math.log(minP); // -Infinity for 0
  for (const i of order) if ((left[i] - logits[order[0]]) / heat < floor) left[i] = -Infinity;
  return softmax(left, heat);
}

// The softmax of logits over a temperature; the highest becomes 0 first, so nothing overflows.
function softmax(logits, temperature = 1) {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const weights = Float64Array.from(logits, (x) => Math.exp((x - most) / temperature));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / total);
}

// Numbers in [0, 1) from a seed below 2^32: mulberry32 by Tommy Ettinger, public domain.
class Random {
  constructor(seed) {
    this.state = seed >>> 0;
  }

  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let word = this.state;
    word = Math.imul(word ^ (word >>> 15), word | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return ((word ^ (word >>> 14)) >>> 0) / 2 ** 32;
  }
}

// The first token, by id, up to which the probabilities come to more than a number in [0, 1).
function draw(probabilities, number) {
  let total = 0, last = 0;
  for (let i = 0; i < probabilities.length; i++) {
    if (probabilities[i] === 0) continue;
    total += probabilities[i];
    last = i;
    if (number < total) break;
  }
  return last;
}

// A text of one model as it grows: the ids so far, and the logits of what follows them.
class Writer {
  constructor(engine, end, exact, stop = end) {
    this.engine = engine;
    this.end = end; // the token that ends a document, which no context crosses, or null
    this.stop = stop; // the token that a text ends before, or null
    this.exact = exact; // whether a full context moves by one token, as in gptexp sample, or half
  }

  begin(ids, seed) {
    this.random = new Random(seed);
    this.retake(ids);
  }

  // Go on from other ids, with the same stream of numbers.
  retake(ids) {
    this.ids = [...ids];
    this.isOver = this.end !== null && this.ids.length > this.engine.capacity;
    this.logits = this.reread(Math.min(this.ids.length, this.engine.capacity));
  }

  // Draw the next token: its id and its probability to the model; null at the end of a document.
  next(dials) {
    const id = draw(this.left(dials), this.random.next());
    if (id === this.stop || this.isOver) {
      this.isOver = true;
      return null;
    }
    const probability = softmax(this.logits)[id];
    this.ids.push(id);
    this.read();
    return { id, probability };
  }

  // The probabilities that the dials leave of what comes next; the penalty looks at what is read.
  left(dials) {
    const { length, spec } = this.engine;
    const context = this.ids.slice(-Math.min(length, spec.block_size));
    return distribution(penalised(this.logits, context, dials.penalty, this.end), dials);
  }

  read() {
    const { engine, ids } = this;
    if (engine.length < engine.capacity) this.logits = engine.read(ids[ids.length - 1]);
    else if (this.end !== null) this.isOver = true; // a document is as long as the context at most
    else this.logits = this.reread(this.exact ? engine.capacity : Math.ceil(engine.capacity / 2));
  }

  // Read the last so many tokens, anew from the first that is not where it was.
  reread(count) {
    const ids = this.ids.slice(-count);
    this.engine.rewind(ids);
    let logits;
    for (const id of ids.slice(this.engine.length)) logits = this.engine.read(id);
    return logits;
  }
}
