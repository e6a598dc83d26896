// An expression as a person types it, made a graph of values; nothing of it is run as code.
"use strict";

const MOST_LETTERS = 120; // of an expression, so that its parser and its picture stay small
const PIECES = /\s*(?:(\d+\.?\d*(?:e[-+]?\d+)?|\.\d+)|([A-Za-z_]\w*)|(\*\*|[-+*/()=]))/iy;
const FUNCTIONS = ["tanh", "relu", "exp", "log"];
const TERMS = { "+": "plus", "-": "minus" };
const FACTORS = { "*": "times", "/": "over" };

class ExpressionError extends Error {}

// A graph of `L = (a*b + c) * f`: its `root`, the Values of its `variables` by name, in `texts`
// what each node was typed as, and the name before the sign, or L. `numbers` is a Map from names
// to numbers; a name that it lacks is 1. Throws ExpressionError with a line for a person.
//
//   sum = product (("+" | "-") product)*      product = sign (("*" | "/") sign)*
//   sign = ("-" | "+") sign | power           power = atom ["**" sign]
//   atom = number | name | function "(" sum ")" | "(" sum ")"
class Expression {
  constructor(text, numbers) {
    if (text.length > MOST_LETTERS) throw new ExpressionError(`At most ${MOST_LETTERS} letters.`);
    this.pieces = this.split(text);
    this.numbers = numbers;
    this.variables = new Map();
    this.texts = new Map();
    const isNamed = /^[A-Za-z_]/.test(this.peek(0)) && this.peek(1) === "=";
    this.name = isNamed ? this.pieces[0] : "L";
    this.at = isNamed ? 2 : 0;
    this.root = this.sum();
    if (this.peek()) this.refuse(this.peek());
    if (this.variables.has(this.name)) {
      throw new ExpressionError(`${this.name} is on both sides; give the result another name.`);
    }
  }

  split(text) {
    const pieces = [];
    PIECES.lastIndex = 0;
    while (text.slice(PIECES.lastIndex).trim()) {
      const from = PIECES.lastIndex;
      const found = PIECES.exec(text);
      if (!found) {
        const sign = Array.from(text.slice(from).trim())[0];
        throw new ExpressionError(`“${sign}” has no meaning here; + - * / ** ( ) do.`);
      }
      pieces.push(found[0].trim());
    }
    return pieces;
  }

  peek(at = this.at) {
    return this.pieces[at] ?? "";
  }

  refuse(piece) {
    throw new ExpressionError(`“${piece}” was not expected there.`);
  }

  // A node that was typed from piece `from` to here.
  made(node, from) {
    if (!this.texts.has(node)) this.texts.set(node, this.pieces.slice(from, this.at).join(""));
    return node;
  }

  sum() {
    return this.chain(TERMS, () => this.chain(FACTORS, () => this.sign()));
  }

  // Operands with operators of one rank between them, from left to right.
  chain(operators, operand) {
    const from = this.at;
    let node = operand();
    while (Object.hasOwn(operators, this.peek())) {
      const method = operators[this.pieces[this.at++]];
      node = this.made(node[method](operand()), from);
    }
    return node;
  }

  // A number with its sign is one number, and no operation.
  sign() {
    const from = this.at;
    if (!"+-".includes(this.peek() || "none")) return this.power();
    const isMinus = this.pieces[this.at++] === "-";
    const value = this.sign();
    if (!isMinus) return value;
    const isNumber = !value.op && !value.children.length;
    return this.made(isNumber ? new Value(-value.data) : value.negative(), from);
  }

  power() {
    const from = this.at;
    const base = this.atom();
    if (this.peek() !== "**") return base;
    this.at++;
    return this.made(base.power(this.sign()), from);
  }

  atom() {
    const from = this.at++;
    const piece = this.peek(from);
    if (!piece) throw new ExpressionError("It ends too early: a name or a number is missing.");
    if (/^[\d.]/.test(piece)) return this.made(new Value(Number(piece)), from);
    if (piece === "(") return this.inside();
    if (!/^[A-Za-z_]/.test(piece)) this.refuse(piece);
    if (this.peek() === "(") {
      if (!FUNCTIONS.includes(piece)) {
        throw new ExpressionError(`${piece} is no function here; ${FUNCTIONS.join(", ")} are.`);
      }
      this.at++;
      return this.made(this.inside()[piece](), from);
    }
    if (!this.variables.has(piece)) {
      this.variables.set(piece, new Value(this.numbers.get(piece) ?? 1, [], [], piece));
    }
    return this.made(this.variables.get(piece), from);
  }

  inside() {
    const node = this.sum();
    if (this.peek() !== ")") throw new ExpressionError("A “)” is missing.");
    this.at++;
    return node;
  }
}
