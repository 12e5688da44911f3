/**
 * PNG's row filters (W3C PNG, section 9): each byte is stored as its difference to a guess from its neighbours
 * to the left (a), above (b) and above left (c); bytes outside the picture count as 0.
 *
 * @module
 */
import { damaged } from "./png_chunks.ts";

const FILTERS = 5;

/** Each row with the filter whose differences are smallest in sum, the choice that the standard recommends. */
export function filterRows(
  data: Uint8Array | Uint8ClampedArray,
  { height, bytesPerPixel }: { height: number; bytesPerPixel: number },
): Uint8Array {
  const rowBytes = data.length / height;
  const out = new Uint8Array(height * (rowBytes + 1));
  const candidates = Array.from({ length: FILTERS }, () => new Uint8Array(rowBytes));
  const sums = new Float64Array(FILTERS);
  for (let y = 0; y < height; y++) {
    sums.fill(0);
    for (let i = 0; i < rowBytes; i++) {
      const at = y * rowBytes + i;
      const a = i >= bytesPerPixel ? data[at - bytesPerPixel] : 0;
      const b = y > 0 ? data[at - rowBytes] : 0;
      const c = i >= bytesPerPixel && y > 0 ? data[at - rowBytes - bytesPerPixel] : 0;
      for (let filter = 0; filter < FILTERS; filter++) {
        const difference = (data[at] - guess(filter, a, b, c)) & 255;
        candidates[filter][i] = difference;
        sums[filter] += difference < 128 ? difference : 256 - difference;
      }
    }
    const best = sums.indexOf(Math.min(...sums));
    out[y * (rowBytes + 1)] = best;
    out.set(candidates[best], y * (rowBytes + 1) + 1);
  }
  return out;
}

/** Rows that each begin with the number of their filter → the rows themselves. */
export function unfilterRows(
  filtered: Uint8Array,
  { rowBytes, bytesPerPixel }: { rowBytes: number; bytesPerPixel: number },
): Uint8Array {
  const height = filtered.length / (rowBytes + 1);
  const out = new Uint8Array(height * rowBytes);
  for (let y = 0; y < height; y++) {
    const filter = filtered[y * (rowBytes + 1)];
    if (filter >= FILTERS) throw damaged("a filter from 0 to 4", `${filter}`);
    for (let i = 0; i < rowBytes; i++) {
      const at = y * rowBytes + i;
      const a = i >= bytesPerPixel ? out[at - bytesPerPixel] : 0;
      const b = y > 0 ? out[at - rowBytes] : 0;
      const c = i >= bytesPerPixel && y > 0 ? out[at - rowBytes - bytesPerPixel] : 0;
      out[at] = filtered[at + y + 1] + guess(filter, a, b, c);
    }
  }
  return out;
}

function guess(filter: number, a: number, b: number, c: number): number {
  switch (filter) {
    case 1:
      return a;
    case 2:
      return b;
    case 3:
      return (a + b) >> 1;
    case 4: {
      const fromA = Math.abs(b - c), fromB = Math.abs(a - c), fromC = Math.abs(a + b - 2 * c);
      return fromA <= fromB && fromA <= fromC ? a : fromB <= fromC ? b : c;
    }
    default:
      return 0;
  }
}
