import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  activation,
  blend,
  concat,
  copyRows,
  geglu,
  lincomb,
  splitRows,
  stack,
  upsample,
} from "../../src/backend/wasm/elementwise.ts";
import { assertClose, assertSameBits, bitsHash, GuardedRuntime, normals } from "./guarded_runtime.ts";

/** erfc(z)/2 for z ≥ 0: Taylor's series, then Laplace's continued fraction. */
function halfErfc(z: number): number {
  if (z < 2.5) {
    let term = z, sum = z;
    for (let n = 1; n < 100; n++) {
      term *= -z * z / n;
      sum += term / (2 * n + 1);
    }
    return 0.5 - sum / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let k = 120; k > 0; k--) fraction = k / 2 / (z + fraction);
  return 0.5 * Math.exp(-z * z) / Math.sqrt(Math.PI) / (z + fraction);
}

const exact = {
  silu: (x: number) => x / (1 + Math.exp(-x)),
  gelu: (x: number) => Math.max(x, 0) - Math.abs(x) * halfErfc(Math.abs(x) / Math.SQRT2),
  quick_gelu: (x: number) => x / (1 + Math.exp(-1.702 * x)),
};
const kinds = ["silu", "gelu", "quick_gelu"] as const;

/** A unit in the last place of x, and not less than that of 1. */
const unit = (x: number) => 2 ** (Math.floor(Math.log2(Math.max(1, Math.abs(x)))) - 23);

/** What asm/inline/activation.ts states. */
const stated = (kind: typeof kinds[number], x: number) =>
  kind === "gelu" ? Math.max(4e-7, unit(x) / 2) : 1.5 * unit(x);

const LENGTHS = [1, 2, 3, 4, 5, 7, 15, 16, 17, 63, 65, 2047, 2048, 2049, 24577, 40001];

for (const choice of ["fast", "strict"] as const) {
  describe(`${choice} element-wise operations`, () => {
    let rt: GuardedRuntime;
    before(async () => {
      rt = await GuardedRuntime.start({ choice });
    });
    after(() => rt.dispose());

    test("activations keep to their stated error from -1e4 to 1e4", () => {
      for (const range of [1e-3, 1, 10, 100, 1e4]) {
        const x = Float32Array.from({ length: 40001 }, (_, i) => range * (i / 20000 - 1));
        for (const kind of kinds) {
          const found = rt.values(activation(rt, rt.tensor(x, [40001]), kind));
          const expected = Float64Array.from(x, exact[kind]);
          assertClose(
            found,
            expected,
            (i) => stated(kind, x[i]),
            kind,
          );
        }
        rt.clear();
      }
    });

    test("activations of extreme values", () => {
      const x = [100, -100, 1e4, -1e4, 1e38, 0, -0, 1e-40, -1e-40, Infinity, NaN];
      for (const kind of kinds) {
        const found = rt.values(activation(rt, rt.tensor(x, [x.length]), kind));
        const denormal = Math.fround(1e-40) / 2;
        const expected = [100, 0, 1e4, 0, 1e38, 0, -0, denormal, -denormal, Infinity, NaN].map(Math.fround);
        assertClose(found, expected, (i) => Math.abs(x[i]) > 1 ? 1e-30 : 2 ** -148, kind);
      }
      rt.clear();
    });

    test("activations of any length: the same bits with gaps, in tails and runs", () => {
      for (const length of LENGTHS) {
        const x = normals(length, length, { deviation: 3 });
        for (const kind of kinds) {
          const run = rt.values(activation(rt, rt.tensor(x, [length]), kind));
          const column = rt.values(activation(rt, rt.tensor(x, [length, 1]), kind));
          assertClose(run, Float64Array.from(x, exact[kind]), (i) => stated(kind, x[i]), `${kind} ${length}`);
          assertSameBits(column, run, `${kind} of a column`);
          if (length < 3000) {
            const wide = rt.values(activation(rt, rt.tensor(x, [length, 1], 2), kind));
            assertSameBits(wide, run, `${kind} of a column with gaps`);
          }
        }
        rt.clear();
      }
    });

    test("geglu", () => {
      for (const cols of [1, 2, 3, 4, 5, 31, 32, 33, 1280]) {
        for (const rows of [1, 3, 40]) {
          const x = normals(rows * 2 * cols, rows + cols, { deviation: 2 });
          const expected = Float64Array.from({ length: rows * cols }, (_, i) => {
            const at = Math.floor(i / cols) * 2 * cols + (i % cols);
            return x[at] * exact.gelu(x[at + cols]);
          });
          const found = rt.values(geglu(rt, rt.tensor(x, [rows, 2 * cols])));
          assertClose(found, expected, (i) => 1e-6 * (1 + 2 * Math.abs(expected[i])), `[${rows}, ${cols}]`);
          const wide = rt.values(geglu(rt, rt.tensor(x, [rows, 2 * cols], 7)));
          assertSameBits(wide, found, `[${rows}, ${cols}] with gaps`);
          rt.clear();
        }
      }
    });

    test("upsampling to 2H or 2H − 1", () => {
      for (const [batch, h, w, cols] of [[1, 1, 1, 1], [2, 3, 5, 3], [1, 7, 4, 20], [1, 9, 8, 320]]) {
        const x = normals(batch * h * w * cols, h);
        for (const height of [2 * h, 2 * h - 1]) {
          for (const width of [2 * w, 2 * w - 1]) {
            const expected: number[] = [];
            for (let b = 0; b < batch; b++) {
              for (let i = 0; i < height; i++) {
                for (let j = 0; j < width; j++) {
                  const at = ((b * h + Math.floor(i * h / height)) * w + Math.floor(j * w / width)) * cols;
                  expected.push(...x.subarray(at, at + cols));
                }
              }
            }
            const source = rt.tensor(x, [batch, h, w, cols], h === 7 ? 3 : 0);
            const y = upsample(rt, source, height, width);
            assert.deepEqual(y.shape, [batch, height, width, cols]);
            assertSameBits(rt.values(y), Float32Array.from(expected), `${h}×${w} to ${height}×${width}`);
            rt.clear();
          }
        }
      }
    });

    test("concat along channels, stack along images, write into a view", () => {
      for (const [rows, left, right] of [[1, 1, 1], [5, 3, 4], [7, 17, 30], [100, 320, 640]]) {
        const a = normals(rows * left, 1), b = normals(rows * right, 2);
        const expected: number[] = [];
        for (let n = 0; n < rows; n++) {
          expected.push(...a.subarray(n * left, (n + 1) * left), ...b.subarray(n * right, (n + 1) * right));
        }
        for (const gap of [0, 3]) {
          const y = concat(rt, rt.tensor(a, [1, rows, left], gap), rt.tensor(b, [1, rows, right]));
          assert.deepEqual(y.shape, [1, rows, left + right]);
          assertSameBits(rt.values(y), Float32Array.from(expected), `concat ${left} and ${right}`);

          const c = normals(2 * rows * left, 3);
          const s = stack(rt, [rt.tensor(a, [1, rows, left], gap), rt.tensor(c, [2, rows, left])]);
          assert.deepEqual(s.shape, [3, rows, left]);
          assertSameBits(rt.values(s), Float32Array.from([...a, ...c]), `stack of ${rows}×${left}`);
        }
        const target = rt.tensor(expected, [rows, left + right]);
        const view = { ...target, ptr: target.ptr + 4 * left, shape: [rows, right] };
        copyRows(rt, view, rt.tensor(new Float32Array(rows * right), [rows, right]));
        const written = Float32Array.from(expected, (v, i) => i % (left + right) < left ? v : 0);
        assertSameBits(rt.values(target), written, "columns of a view");
        rt.clear();
      }
    });

    test("lincomb adds 1 to 6 terms in their order", () => {
      for (const length of LENGTHS) {
        for (const count of [1, 2, 3, 6]) {
          const inputs = Array.from({ length: count }, (_, i) => normals(length, length + i));
          const coefficients = inputs.map((_, i) => Math.fround((-1) ** i * (i + 0.7)));
          const expected = new Float64Array(length), size = new Float64Array(length);
          for (const [t, x] of inputs.entries()) {
            for (let i = 0; i < length; i++) {
              expected[i] += coefficients[t] * x[i];
              size[i] += Math.abs(coefficients[t] * x[i]);
            }
          }
          const terms = inputs.map((x, i) => [coefficients[i], rt.tensor(x, [length, 1])] as const);
          const found = rt.values(lincomb(rt, terms));
          assertClose(found, expected, (i) => count * 2 ** -23 * size[i], `${count} terms of ${length}`);
          if (length < 3000) {
            const wide = inputs.map((x, i) => [coefficients[i], rt.tensor(x, [length, 1], i)] as const);
            assertSameBits(rt.values(lincomb(rt, wide)), found, `${count} terms of ${length} with gaps`);
          }
          rt.clear();
        }
      }
      // 1e8 + 1 is lost, 1 − 1e8 + 1e8 is not: the order shows.
      const one = (v: number) => [1, rt.tensor([v], [1])] as const;
      assert.equal(rt.values(lincomb(rt, [one(1e8), one(1), one(-1e8)]))[0], 0);
      assert.equal(rt.values(lincomb(rt, [one(1e8), one(-1e8), one(1)]))[0], 1);
      rt.clear();
    });

    test("blend takes a where the mask is 1 and b where it is 0", () => {
      for (const [rows, cols] of [[1, 1], [5, 4], [9, 3], [700, 30]]) {
        const a = normals(rows * cols, 1), b = normals(rows * cols, 2, { deviation: 50 });
        const mask = Float32Array.from({ length: rows }, (_, i) => [0, 1, 0.25][i % 3]);
        const expected = Float64Array.from(a, (v, i) => {
          const m = mask[Math.floor(i / cols)];
          return m * v + (1 - m) * b[i];
        });
        const gaps = rows === 9 ? 1 : 0;
        const found = rt.values(blend(
          rt,
          rt.tensor(mask, [rows, 1], gaps),
          rt.tensor(a, [rows, cols], 2 * gaps),
          rt.tensor(b, [rows, cols], 3 * gaps),
        ));
        assertClose(
          found,
          expected,
          (i) => mask[Math.floor(i / cols)] % 1 === 0 ? 0 : 2 ** -22 * (Math.abs(a[i]) + Math.abs(b[i])),
          `[${rows}, ${cols}]`,
        );
        rt.clear();
      }
    });
  });

  test(`${choice} element-wise operations: the same bits for any number of threads and order of tasks`, async () => {
    const results: Float32Array[][] = [];
    for (const options of [{ threads: 1 }, { threads: 2 }, { threads: 3 }, { reverse: true }]) {
      const rt = await GuardedRuntime.start({ choice, ...options });
      const x = rt.tensor(normals(900 * 130, 1, { deviation: 4 }), [900, 130]);
      const wide = rt.tensor(normals(900 * 130, 2), [900, 130], 6);
      const mask = rt.tensor(normals(900, 3), [900, 1]);
      results.push(
        [
          ...kinds.map((kind) => activation(rt, x, kind)),
          geglu(rt, x),
          lincomb(rt, [[0.3, x], [-7, wide], [1.1, x]]),
          blend(rt, mask, x, wide),
          concat(rt, x, wide),
          stack(rt, [x, wide]),
          upsample(rt, { ...wide, shape: [2, 45, 10, 130] }, 89, 20),
        ].map((y) => rt.values(y)),
      );
      await rt.dispose();
    }
    for (const result of results.slice(1)) {
      for (const [i, values] of result.entries()) assertSameBits(values, results[0][i], `result ${i}`);
    }
    // What strict kernels give is the same on every engine: a change here changes pictures.
    if (choice === "strict") {
      const pins = ["d6e26c23", "72eec363", "a95bbff6", "a3878cf1", "b6fc8e23", "7eba23dd"];
      assert.deepEqual(results[0].slice(0, 6).map(bitsHash), pins);
    }
  });
}

test("tasks cover every row once, whatever the shape", () => {
  for (const [rows, cols] of [[1, 1], [1, 1e6], [7, 4], [4096, 320], [4097, 321], [64, 1280], [3, 16384]]) {
    const { perTask, tasks } = splitRows(rows, cols);
    assert.ok(perTask * tasks >= rows && perTask * (tasks - 1) < rows, `${rows}×${cols}`);
  }
});
