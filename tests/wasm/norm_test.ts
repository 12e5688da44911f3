import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { affine, groupNorm, groupNormAffine, layerNorm } from "../../src/backend/wasm/norm.ts";
import type { WasmTensor } from "../../src/backend/wasm/runtime.ts";
import { assertClose, assertSameBits, bitsHash, GuardedRuntime, normals } from "./guarded_runtime.ts";

const EPS = 1e-5;

function layerNormF64(x: Float32Array, gamma: Float32Array, beta: Float32Array): Float64Array {
  const cols = gamma.length;
  const y = new Float64Array(x.length);
  for (let at = 0; at < x.length; at += cols) {
    const row = x.subarray(at, at + cols);
    let mean = 0, variance = 0;
    for (const v of row) mean += v / cols;
    for (const v of row) variance += (v - mean) ** 2 / cols;
    for (let c = 0; c < cols; c++) {
      y[at + c] = (row[c] - mean) / Math.sqrt(variance + Math.fround(EPS)) * gamma[c] + beta[c];
    }
  }
  return y;
}

/** `size`: what was added to give each result: a bound on its rounding. */
function groupNormF64(
  x: Float32Array,
  { batch, gamma, beta, groups, silu }: {
    batch: number;
    gamma: Float32Array;
    beta: Float32Array;
    groups: number;
    silu: boolean;
  },
): { y: Float64Array; size: Float64Array } {
  const cols = gamma.length, rows = x.length / batch / cols, width = cols / groups;
  const y = new Float64Array(x.length), size = new Float64Array(x.length);
  for (let b = 0; b < batch; b++) {
    for (let g = 0; g < groups; g++) {
      const at: number[] = [];
      for (let n = 0; n < rows; n++) {
        for (let c = g * width; c < (g + 1) * width; c++) at.push((b * rows + n) * cols + c);
      }
      let mean = 0, variance = 0;
      for (const i of at) mean += x[i] / at.length;
      for (const i of at) variance += (x[i] - mean) ** 2 / at.length;
      for (const i of at) {
        const scale = gamma[i % cols] / Math.sqrt(variance + Math.fround(EPS));
        y[i] = (x[i] - mean) * scale + beta[i % cols];
        size[i] = 1 + Math.abs(x[i] * scale) + Math.abs(mean * scale) + Math.abs(beta[i % cols]);
        if (silu) y[i] /= 1 + Math.exp(-y[i]);
      }
    }
  }
  return { y, size };
}

const weights = (rt: GuardedRuntime, cols: number) => {
  const gamma = normals(cols, 1, { mean: 1, deviation: 0.5 });
  const beta = normals(cols, 2, { deviation: 0.5 });
  return { gamma, beta, w: { gamma: rt.tensor(gamma, [cols]), beta: rt.tensor(beta, [cols]) } };
};

for (const choice of ["fast", "strict"] as const) {
  describe(`${choice} norms`, () => {
    let rt: GuardedRuntime;
    before(async () => {
      rt = await GuardedRuntime.start({ choice });
    });
    after(() => rt.dispose());

    test("layer norm is that of f64 at every width and tail", () => {
      for (const cols of [1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 15, 16, 31, 33, 320, 768, 1283]) {
        for (const rows of [1, 2, 3, 50, 120]) {
          const { gamma, beta, w } = weights(rt, cols);
          const x = normals(rows * cols, rows + cols, { mean: 0.3, deviation: 2 });
          const expected = layerNormF64(x, gamma, beta);
          const tight = rt.values(layerNorm(rt, rt.tensor(x, [rows, cols]), w, { eps: EPS }));
          assertClose(tight, expected, (i) => 2e-6 * (1 + Math.abs(expected[i])), `[${rows}, ${cols}]`);
          const wide = rt.values(layerNorm(rt, rt.tensor(x, [rows, cols], 5), w, { eps: EPS }));
          assertSameBits(wide, tight, `[${rows}, ${cols}] with gaps`);
          rt.clear();
        }
      }
    });

    test("layer norm does not mind a mean far above the deviation", () => {
      for (const mean of [1e2, -1e4, 1e6]) {
        const x = normals(8 * 321, 3, { mean, deviation: mean === 1e6 ? 10 : 0.5 });
        const { gamma, beta, w } = weights(rt, 321);
        const expected = layerNormF64(x, gamma, beta);
        const found = rt.values(layerNorm(rt, rt.tensor(x, [8, 321]), w, { eps: EPS }));
        assertClose(found, expected, (i) => 2e-6 * (1 + Math.abs(expected[i])), `mean ${mean}`);
        rt.clear();
      }
    });

    test("rows of one value become beta", () => {
      const { beta, w } = weights(rt, 13);
      const x = rt.tensor(new Float32Array(26).fill(1234.5), [1, 2, 13]);
      for (const y of [layerNorm(rt, x, w, { eps: EPS }), groupNorm(rt, x, w, { groups: 1, eps: EPS })]) {
        // Group norm's x · scale + shift: two roundings of 1234.5 / √eps.
        const rounding = 2 ** -22 * 1234.5 * 2 / Math.sqrt(EPS);
        assertClose(rt.values(y), [...beta, ...beta], rounding, "constant rows");
      }
      rt.clear();
    });

    test("group norm is that of f64 for any group size, rows and tail", () => {
      const widths = [[1, 1], [3, 1], [4, 1], [6, 2], [35, 5], [30, 3], [128, 32], [320, 32], [640, 32], [
        960,
        32,
      ]];
      for (const [cols, groups] of [...widths, [1280, 32]]) {
        for (const rows of [1, 3, 4, 5, 26, 77]) {
          for (const silu of [false, true]) {
            const batch = rows === 5 ? 3 : 1;
            const { gamma, beta, w } = weights(rt, cols);
            const x = normals(batch * rows * cols, rows * cols, { mean: -0.7, deviation: 3 });
            const { y, size } = groupNormF64(x, { batch, gamma, beta, groups, silu });
            const what = `[${batch}, ${rows}, ${cols}] in ${groups} groups`;
            const shape = [batch, rows, cols];
            const found = rt.values(groupNorm(rt, rt.tensor(x, shape), w, { groups, eps: EPS, silu }));
            assertClose(found, y, (i) => 4e-7 * size[i], what);
            const wide = rt.values(groupNorm(rt, rt.tensor(x, shape, 3), w, { groups, eps: EPS, silu }));
            assertSameBits(wide, found, `${what} with gaps`);
            rt.clear();
          }
        }
      }
    });

    test("group norm keeps a variance far below the mean, and an outlier does not spoil it", () => {
      const shape = [1, 700, 40];
      const shifted = normals(28000, 5, { mean: 1e4, deviation: 0.5 });
      const spiked = normals(28000, 6);
      spiked[0] = 1e5;
      for (const x of [shifted, spiked]) {
        const { gamma, beta, w } = weights(rt, 40);
        const { y, size } = groupNormF64(x, { batch: 1, gamma, beta, groups: 4, silu: false });
        const found = rt.values(groupNorm(rt, rt.tensor(x, shape), w, { groups: 4, eps: EPS }));
        // x · scale + shift rounds what cancels: 2e-3 of a deviation at 2e4 deviations.
        assertClose(found, y, (i) => 2e-7 * size[i], "large values");
        rt.clear();
      }
    });

    test("an image of a batch has the bits of the image alone, and so do its strips", () => {
      const [rows, cols] = [900, 30];
      const x = normals(2 * rows * cols, 8);
      const { w } = weights(rt, cols);
      const options = { groups: 3, eps: EPS };
      const both = rt.tensor(x, [2, rows, cols]);
      const whole = rt.values(groupNorm(rt, both, w, { ...options, silu: true }));
      const alone: WasmTensor = { ...both, ptr: both.ptr + 4 * rows * cols, shape: [1, rows, cols] };
      const second = rt.values(groupNorm(rt, alone, w, { ...options, silu: true }));
      assertSameBits(second, whole.slice(rows * cols), "second image");
      const scaleShift = groupNormAffine(rt, alone, w, options);
      for (const [from, to] of [[0, 1], [1, 437], [437, rows]]) {
        const part = { ...alone, ptr: alone.ptr + 4 * from * cols, shape: [1, to - from, cols] };
        const strip = rt.values(affine(rt, part, scaleShift, { silu: true }));
        assertSameBits(strip, second.slice(from * cols, to * cols), `rows ${from} to ${to}`);
      }
      rt.clear();
    });
  });
}

const manyTasks = (rt: GuardedRuntime) => {
  const [rows, cols] = [611, 330];
  const { w } = weights(rt, cols);
  const x = rt.tensor(normals(2 * rows * cols, 9, { mean: 2 }), [2, rows, cols], 2);
  return [
    rt.values(layerNorm(rt, x, w, { eps: EPS })),
    rt.values(groupNorm(rt, x, w, { groups: 33, eps: EPS, silu: true })),
  ];
};

for (const choice of ["fast", "strict"] as const) {
  test(`${choice} norms: the same bits for any number of threads and order of tasks`, async () => {
    const results: Float32Array[][] = [];
    for (const options of [{ threads: 1 }, { threads: 2 }, { threads: 3 }, { reverse: true }]) {
      const rt = await GuardedRuntime.start({ choice, ...options });
      results.push(manyTasks(rt));
      await rt.dispose();
    }
    for (const result of results.slice(1)) {
      for (const [i, values] of result.entries()) assertSameBits(values, results[0][i], `result ${i}`);
    }
    // What strict kernels give is the same on every engine: a change here changes pictures.
    if (choice === "strict") assert.deepEqual(results[0].map(bitsHash), ["c92c917f", "a0b03e9b"]);
  });
}
