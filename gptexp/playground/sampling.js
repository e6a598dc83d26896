// How a token is drawn: the dials of inference/dials.py, in the same order.
"use strict";

const COLDEST = 1e-30;

// Probabilities of the tokens in the draw; 0 for those that the dials leave out.
//
// Temperature 0 leaves the likeliest alone. Else top_k leaves the k highest logits; logits are
// divided by the temperature, and their softmax is the probabilities; top_p leaves the fewest of
// the likeliest that come to p, with the one that reaches it.
function distribution(logits, { temperature, topK, topP }) {
  if (temperature >= COLDEST && !topK && topP >= 1) return softmax(logits, temperature);
  const order = Array.from(logits, (_, i) => i).sort((a, b) => logits[b] - logits[a] || a - b);
  const left = new Float64Array(logits.length).fill(-Infinity);
  const count = temperature < COLDEST ? 1 : topK || order.length;
  for (const i of order.slice(0, count)) left[i] = logits[i];
  const drawn = softmax(left, Math.max(temperature, COLDEST));
  if (topP >= 1) return drawn;
  let likelier = 0;
  for (const i of order) {
    if (likelier >= topP) left[i] = -Infinity;
    likelier += drawn[i];
  }
  return softmax(left, Math.max(temperature, COLDEST));
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
    const id = draw(distribution(this.logits, dials), this.random.next());
    if (id === this.stop || this.isOver) {
      this.isOver = true;
      return null;
    }
    const probability = softmax(this.logits)[id];
    this.ids.push(id);
    this.read();
    return { id, probability };
  }

  read() {
    const { engine, ids } = this;
    if (engine.length < engine.capacity) this.logits = engine.read(ids[ids.length - 1]);
    else if (this.end !== null) this.isOver = true; // a document is as long as the context at most
    else this.logits = this.reread(this.exact ? engine.capacity : Math.ceil(engine.capacity / 2));
  }

  // Read the last so many tokens anew.
  reread(count) {
    this.engine.reset();
    let logits;
    for (const id of this.ids.slice(-count)) logits = this.engine.read(id);
    return logits;
  }
}
