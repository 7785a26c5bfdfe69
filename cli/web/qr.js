// QR codes (ISO/IEC 18004) for links: bytes, error correction level L, versions 1 to 5, so one block and 106 bytes.

import { svg } from './ui.js';

/** Data and correction codewords of each version. */
const VERSIONS = [[19, 7], [34, 10], [55, 15], [80, 20], [108, 26]];

// The field of 256 elements modulo x^8 + x^4 + x^3 + x^2 + 1.
const POWER = [], LOGARITHM = [];
for (let exponent = 0, value = 1; exponent < 510; exponent++) {
  POWER[exponent] = value;
  LOGARITHM[value] ??= exponent;
  value = (value << 1) ^ (value & 0x80 ? 0x11d : 0);
}
const multiply = (a, b) => (a && b ? POWER[LOGARITHM[a] + LOGARITHM[b]] : 0);

/** The dark modules of a code for this text, as rows of booleans; `null` if it is too long. */
export function qr(text) {
  const bytes = [...new TextEncoder().encode(text)];
  const version = VERSIONS.findIndex(([data]) => bytes.length + 2 <= data) + 1;
  if (!version) return null;
  const [capacity, degree] = VERSIONS[version - 1];
  // Byte mode, the length, the bytes, the end: the mode takes half a byte and shifts all that follows.
  const halves = [4, ...[bytes.length, ...bytes].flatMap(byte => [byte >> 4, byte & 15]), 0];
  const data = Array.from({ length: halves.length / 2 }, (_, at) => (halves[2 * at] << 4) | halves[2 * at + 1]);
  for (let pad = 0xec; data.length < capacity; pad ^= 0xfd) data.push(pad);
  return drawn(version * 4 + 17, [...data, ...correction(data, degree)]);
}

/** The same as an SVG element, with the quiet zone. */
export function qrSvg(text) {
  const modules = qr(text);
  if (!modules) return null;
  const image = svg('svg', { viewBox: `-4 -4 ${modules.length + 8} ${modules.length + 8}` });
  const squares = modules.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x} ${y}h1v1h-1z` : '')));
  image.append(svg('path', { d: squares.join('') }));
  return image;
}

/** The remainder of a division by the product of x - 2^i. */
function correction(data, degree) {
  let divisor = [1];
  for (let root = 0; root < degree; root++) {
    divisor = [...divisor, 0].map((value, at) => value ^ multiply(divisor[at - 1] ?? 0, POWER[root]));
  }
  const rest = [...data, ...Array(degree).fill(0)];
  data.forEach((_, at) => {
    const factor = rest[at];
    divisor.forEach((coefficient, index) => (rest[at + index] ^= multiply(coefficient, factor)));
  });
  return rest.slice(data.length);
}

function drawn(size, stream) {
  const modules = Array.from({ length: size }, () => Array(size).fill(null));
  const set = (x, y, dark) => {
    if (modules[y]?.[x] !== undefined) modules[y][x] = Boolean(dark);
  };
  const square = (left, top, reach, light) => {
    for (let y = -reach; y <= reach; y++) {
      for (let x = -reach; x <= reach; x++) set(left + x, top + y, !light.includes(Math.max(Math.abs(x), Math.abs(y))));
    }
  };
  for (let at = 0; at < size; at++) {
    set(at, 6, at % 2 === 0);
    set(6, at, at % 2 === 0);
  }
  for (const [left, top] of [[3, 3], [size - 4, 3], [3, size - 4]]) square(left, top, 4, [2, 4]);
  if (size > 21) square(size - 7, size - 7, 2, [1]);
  // Level L and mask 0, with their BCH code and the fixed mask: twice, and one module that is always dark.
  const format = at => (0b111011111000100 >> at) & 1;
  for (let at = 0; at < 15; at++) {
    set(8, at < 6 ? at : at < 8 ? at + 1 : size - 15 + at, format(at));
    set(at < 8 ? size - 1 - at : at === 8 ? 7 : 14 - at, 8, format(at));
  }
  set(8, size - 8, true);
  // Up and down in columns of two, from the right, past the vertical timing pattern.
  let at = 0;
  for (let right = size - 1; right > 0; right -= right === 8 ? 3 : 2) {
    const up = ((right < 6 ? right + 1 : right) & 2) === 0;
    for (let step = 0; step < size; step++) {
      const y = up ? size - 1 - step : step;
      for (const x of [right, right - 1]) {
        if (modules[y][x] !== null) continue;
        modules[y][x] = Boolean(((stream[at >> 3] ?? 0) >> (7 - (at & 7))) & 1) !== ((x + y) % 2 === 0);
        at += 1;
      }
    }
  }
  return modules;
}
