/** A small generator of our own (mulberry32), so that tests see the same inputs on every engine. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Values of mean 0 and variance 1: the sum of three uniforms on (−1, 1). */
export function randomArray(length: number, seed: number): Float32Array {
  const next = seeded(seed);
  return Float32Array.from({ length }, () => 2 * (next() + next() + next()) - 3);
}

export function randomIntegers(length: number, below: number, seed: number): Int32Array {
  const next = seeded(seed);
  return Int32Array.from({ length }, () => Math.floor(next() * below));
}
