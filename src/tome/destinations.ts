/**
 * Which token of each cell is its destination.
 *
 * @module
 */
import { cellCount, type Cells } from "../backend/token_lists.ts";

/** What a draw depends on; nothing else, so that merging never disturbs the noise and a run can be repeated. */
export interface DrawKey {
  /** Of the image: any safe integer. */
  seed: number;
  /** Of the transformer block; see `blockKey`. */
  block: number;
  /** Of the network call. */
  step: number;
}

/** A block's number by its name, so that a draw does not depend on how many blocks ran before (FNV-1a, 32 bits). */
export function blockKey(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** A position, row-major in the cell, for each whole cell of the grid: uniform, a function of the key alone. */
export function drawDestinations(cells: Cells, key: DrawKey): Int32Array {
  const into = new Int32Array(cellCount(cells));
  fillDestinations(into, cells.sx * cells.sy, key);
  return into;
}

/** The same into memory of the caller's. */
export function fillDestinations(into: Int32Array, positions: number, { seed, block, step }: DrawKey): void {
  const low = seed | 0;
  const high = Math.floor(seed / 2 ** 32) | 0;
  // Four words of input for five of key: the high half of a seed is nearly always 0 and shares one.
  const stream = block ^ Math.imul(high, 0x9e3779b1);
  for (let i = 0; i < into.length; i += 4) {
    const words = pcg4d(i >> 2, step, stream, low);
    for (let j = 0; j < 4 && i + j < into.length; j++) {
      into[i + j] = Math.floor(words[j] / 2 ** 32 * positions);
    }
  }
}

const out = new Uint32Array(4);

/**
 * Four words of 32 bits to four others, with no state: PCG4D of Jarzynski and Olano, "Hash Functions for GPU
 * Rendering", JCGT 9(3), 2020.
 */
export function pcg4d(x: number, y: number, z: number, w: number): Uint32Array {
  x = Math.imul(x, 1664525) + 1013904223 | 0;
  y = Math.imul(y, 1664525) + 1013904223 | 0;
  z = Math.imul(z, 1664525) + 1013904223 | 0;
  w = Math.imul(w, 1664525) + 1013904223 | 0;
  for (let round = 0; round < 2; round++) {
    x = x + Math.imul(y, w) | 0;
    y = y + Math.imul(z, x) | 0;
    z = z + Math.imul(x, y) | 0;
    w = w + Math.imul(y, z) | 0;
    if (round === 0) x ^= x >>> 16, y ^= y >>> 16, z ^= z >>> 16, w ^= w >>> 16;
  }
  out[0] = x, out[1] = y, out[2] = z, out[3] = w;
  return out;
}
