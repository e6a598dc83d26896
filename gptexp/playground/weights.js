// Packed weights as they were before: numbers of float32.
"use strict";

// The weights of a packed model as a Map from name to Float32Array: see playground/pack.py.
function unpack(tensors, base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const weights = new Map();
  let at = 0;
  for (const { name, shape, kind } of tensors) {
    const rows = shape.length > 1 ? shape[0] : 1;
    const size = shape.reduce((all, each) => all * each, 1);
    const width = size / rows;
    const values = new Float32Array(size);
    if (kind === "int8") {
      for (let row = 0; row < rows; row++) {
        const scale = view.getFloat32(at, true);
        at += 4;
        const end = (row + 1) * width;
        for (let i = row * width; i < end; i++) values[i] = scale * view.getInt8(at++);
      }
    } else if (kind === "float16") {
      for (let i = 0; i < size; i++, at += 2) values[i] = half(view.getUint16(at, true));
    } else {
      for (let i = 0; i < size; i++, at += 4) values[i] = view.getFloat32(at, true);
    }
    weights.set(name, values);
  }
  return weights;
}

// The number whose float16 has these bits.
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
