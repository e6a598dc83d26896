// Text to token ids and back: characters, bytes, byte pairs and bare ids, as in gptexp/tokenizers.
"use strict";

// GPT-2's pattern; \p{White_Space} is what its library takes for white space.
const WORDS = new RegExp(
  [
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+",
    "\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+",
  ].join("|"),
  "gu",
);

function tokenizerOf(state) {
  if (state.name === "char") return new Characters(state.characters);
  if (state.name === "ids") return new BareIds(state.vocab_size);
  return new BytePairs(state.name === "byte" ? "" : state.merges, state.name === "gpt2");
}

// One token per character; `unknown` has those of a text that have none.
class Characters {
  constructor(characters) {
    this.tokens = Array.from(characters);
    this.ids = new Map(this.tokens.map((character, id) => [character, id]));
  }

  encode(text) {
    return Array.from(text).flatMap((character) => this.ids.get(character) ?? []);
  }

  unknown(text) {
    return [...new Set(Array.from(text).filter((character) => !this.ids.has(character)))];
  }

  decode(ids) {
    return ids.map((id) => this.tokens[id]).join("");
  }
}

// Bytes, and the merges of two tokens before them; without merges, in the order of their values.
class BytePairs {
  constructor(merges, hasEnd) {
    const seen = (byte) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    const bytes = Array.from({ length: 256 }, (_, byte) => byte);
    const order = merges ? [...bytes.filter(seen), ...bytes.filter((byte) => !seen(byte))] : bytes;
    let hidden = 0x100;
    const signs = order.map((byte) => String.fromCharCode(!merges || seen(byte) ? byte : hidden++));
    this.bytes = order.map((byte) => [byte]);
    this.idOf = new Map(order.map((byte, id) => [byte, id]));
    this.pairs = new Map();
    const ids = new Map(signs.map((sign, id) => [sign, id]));
    merges.split("\n").filter(Boolean).forEach((line, rank) => {
      const [one, other] = line.split(" ").map((token) => ids.get(token));
      const joined = line.replace(" ", "");
      if (!ids.has(joined)) {
        ids.set(joined, this.bytes.length);
        this.bytes.push([...this.bytes[one], ...this.bytes[other]]);
      }
      this.pairs.set(`${one} ${other}`, { rank, id: ids.get(joined) });
    });
    if (hasEnd) this.bytes.push([...new TextEncoder().encode("<|endoftext|>")]);
    this.words = merges ? WORDS : /[^]+/g;
  }

  encode(text) {
    return (text.match(this.words) ?? []).flatMap((word) => this.merged(word));
  }

  // The ids of a word: of all pairs that can be merged, the first in the list, again and again.
  merged(word) {
    const ids = Array.from(new TextEncoder().encode(word), (byte) => this.idOf.get(byte));
    while (this.pairs.size) {
      let best = null, place = -1;
      for (let i = 0; i + 1 < ids.length; i++) {
        const pair = this.pairs.get(`${ids[i]} ${ids[i + 1]}`);
        if (pair && (best === null || pair.rank < best.rank)) [best, place] = [pair, i];
      }
      if (best === null) break;
      ids.splice(place, 2, best.id);
    }
    return ids;
  }

  unknown() {
    return [];
  }

  decode(ids) {
    const bytes = Uint8Array.from(ids.flatMap((id) => this.bytes[id]));
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  }
}

// Numbers with white space between them, each a token of which nobody says what it stands for.
class BareIds {
  constructor(size) {
    this.isId = (word) => /^\d{1,15}$/.test(word) && Number(word) < size;
  }

  encode(text) {
    return this.words(text).filter(this.isId).map(Number);
  }

  unknown(text) {
    return [...new Set(this.words(text).filter((word) => !this.isId(word)))];
  }

  decode(ids) {
    return ids.map((id) => `${id} `).join("");
  }

  words(text) {
    return text.split(/\s+/).filter(Boolean);
  }

  // The text as these tokens say it, so that what is drawn can stand behind what was typed.
  tidy(text) {
    return this.decode(this.encode(text));
  }
}
