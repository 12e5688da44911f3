import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { SCRATCH_BYTES } from "../../asm/layout.ts";
import type { AttentionOptions } from "../../src/backend/backend.ts";
import { attention, attentionBlocks, attentionScratch } from "../../src/backend/wasm/attention.ts";
import type { WasmTensor } from "../../src/backend/wasm/runtime.ts";
import { assertClose, assertSameBits, bitsHash, GuardedRuntime, normals } from "./guarded_runtime.ts";

interface Problem extends AttentionOptions {
  batch?: number;
  queries: number;
  keys: number;
  depth: number;
  /** Elements between the rows of q, k and v. */
  gap?: number;
  /** Standard deviation of q and k. */
  size?: number;
}

type Triple<T> = readonly [q: T, k: T, v: T];

function inputs({ batch = 1, queries, keys, heads, depth, size = 1 }: Problem): Triple<Float32Array> {
  const values = (rows: number, seed: number, deviation: number) =>
    normals(batch * rows * heads * depth, seed + rows + depth, { deviation });
  return [values(queries, 1, size), values(keys, 2, size), values(keys, 3, 1)];
}

/**
 * Softmax attention in f64, and what each result may differ by. A score is a sum of products in f32: it carries
 * some roundings of the size of Σ|q·k|, which the exponential turns into a relative error; the sums over keys and
 * the polynomial add some more. Two roundings of that sum plus four for the rest, times the largest |v|: twice
 * the most that was seen, or more.
 */
function attentionF64(
  p: Problem,
  [q, k, v]: Triple<Float32Array>,
): { y: Float64Array; tolerance: Float64Array } {
  const { batch = 1, queries, keys, heads, depth, causal, scale = 1 / Math.sqrt(depth) } = p;
  const channels = heads * depth;
  const y = new Float64Array(q.length), tolerance = new Float64Array(q.length);
  const largest = v.reduce((a, x) => Math.max(a, Math.abs(x)), 0);
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < queries; i++) {
      for (let head = 0; head < channels; head += depth) {
        const at = (b * queries + i) * channels + head;
        const seen = causal ? i + 1 : keys;
        let size = 0;
        const scores = Array.from({ length: seen }, (_, j) => {
          let sum = 0, magnitude = 0;
          for (let d = 0; d < depth; d++) {
            const product = q[at + d] * k[(b * keys + j) * channels + head + d] * scale;
            sum += product;
            magnitude += Math.abs(product);
          }
          size = Math.max(size, magnitude);
          return sum;
        });
        const most = Math.max(...scores);
        let total = 0;
        scores.forEach((score, j) => {
          const weight = Math.exp(score - most);
          total += weight;
          for (let d = 0; d < depth; d++) y[at + d] += weight * v[(b * keys + j) * channels + head + d];
        });
        for (let d = 0; d < depth; d++) {
          y[at + d] /= total;
          tolerance[at + d] = (4 + 2 * size) * 2 ** -24 * largest;
        }
      }
    }
  }
  return { y, tolerance };
}

function upload(rt: GuardedRuntime, p: Problem, values: Triple<Float32Array>): Triple<WasmTensor> {
  const { batch = 1, queries, keys, heads, depth, gap = 0 } = p;
  const tensor = (x: Float32Array, rows: number) => rt.tensor(x, [batch, rows, heads * depth], gap);
  return [tensor(values[0], queries), tensor(values[1], keys), tensor(values[2], keys)];
}

function run(rt: GuardedRuntime, p: Problem, values = inputs(p)): Float32Array {
  const [q, k, v] = upload(rt, p, values);
  return rt.values(attention(rt, q, k, v, p));
}

function check(rt: GuardedRuntime, p: Problem, values = inputs(p)): void {
  const found = run(rt, p, values);
  rt.clear();
  const { y, tolerance } = attentionF64(p, values);
  assertClose(found, y, (i) => tolerance[i], JSON.stringify(p));
}

for (const choice of ["fast", "strict"] as const) {
  describe(`${choice} attention`, () => {
    let rt: GuardedRuntime;
    before(async () => {
      rt = await GuardedRuntime.start({ choice });
    });
    after(() => rt.dispose());

    test("is that of f64 below, at and above the tiles of queries and keys", () => {
      for (const queries of [1, 3, 4, 5, 7, 8, 9, 12, 13, 16, 17]) {
        for (const keys of [1, 2, 4, 5, 6, 7, 8, 11, 12, 13, 77]) {
          check(rt, { batch: 2, queries, keys, heads: 2, depth: 8, gap: 3 });
        }
      }
    });

    test("at every head width", () => {
      for (const depth of [4, 8, 12, 16, 20, 24, 28, 32, 40, 44, 64, 80, 160, 320, 512]) {
        check(rt, { queries: 19, keys: 31, heads: 2, depth });
        check(rt, { queries: 13, keys: 13, heads: 2, depth, causal: true });
      }
    });

    test("over several blocks of queries and keys, whole and not", () => {
      for (const depth of [40, 512]) {
        const { keyBlock } = attentionBlocks({ queries: 16384, keys: 16384, depth, problems: 1 });
        for (const keys of [keyBlock - 1, keyBlock, keyBlock + 1, 3 * keyBlock + 5]) {
          check(rt, { queries: 21, keys, heads: 1, depth });
        }
      }
      for (const queries of [511, 512, 520, 1031]) check(rt, { queries, keys: 50, heads: 3, depth: 16 });
    });

    test("causal: query i sees keys 0..i, whatever the others hold", () => {
      for (const tokens of [1, 2, 7, 8, 9, 77, 215]) {
        check(rt, { batch: 2, queries: tokens, keys: tokens, heads: 2, depth: 40, causal: true, gap: 8 });
      }
      const p = { queries: 77, keys: 77, heads: 2, depth: 64, causal: true };
      const [q, k, v] = inputs(p);
      const expected = run(rt, p, [q, k, v]);
      // Large keys, which would win the maximum, and values that would show.
      for (const x of [k, v]) x.fill(1e4, 50 * 128);
      assertSameBits(run(rt, p, [q, k, v]).subarray(0, 50 * 128), expected.subarray(0, 50 * 128), "first 50");
      rt.clear();
    });

    test("large scores neither overflow nor vanish", () => {
      for (const size of [4, 10, 20]) {
        check(rt, { queries: 40, keys: 230, heads: 2, depth: 40, size });
        check(rt, { queries: 40, keys: 40, heads: 2, depth: 40, size, causal: true });
      }
      // Scores of exactly 200, −200 or both, in every order of blocks: all weights are 0, 1/n or e^−400.
      const p = { queries: 9, keys: 500, heads: 1, depth: 4, scale: 1 };
      const [q, k, v] = inputs(p);
      q.fill(10);
      for (
        const sign of [
          (_: number) => 1,
          (_: number) => -1,
          (j: number) => j < 250 ? -1 : 1,
          (j: number) => j < 250 ? 1 : -1,
        ]
      ) {
        for (let j = 0; j < 500; j++) k.fill(5 * sign(j), 4 * j, 4 * j + 4);
        check(rt, p, [q, k, v]);
      }
      // A maximum that rises by little, then by much, from key to key.
      for (const rise of [0.01, 0.3, 2]) {
        for (let j = 0; j < 500; j++) k.fill(rise * j / 40, 4 * j, 4 * j + 4);
        check(rt, p, [q, k, v]);
      }
    });

    test("scale 0 gives the mean of the values, and equal keys weigh the same", () => {
      const p = { queries: 10, keys: 37, heads: 1, depth: 12, scale: 0 };
      check(rt, p);
      const values = inputs(p);
      values[2].fill(0.75);
      for (const x of run(rt, p, values)) assert.ok(Math.abs(x - 0.75) < 1e-6, `${x} is not 0.75`);
      rt.clear();
    });

    test("reads column views of one fused matrix", () => {
      const p = { batch: 2, queries: 50, keys: 50, heads: 2, depth: 24 };
      const values = inputs(p);
      const tight = run(rt, p, values);
      const fused = rt.tensor(new Float32Array(2 * 50 * 144), [2, 50, 144]);
      const views = values.map((x, part) => {
        for (let i = 0; i < x.length; i++) {
          rt.f32[(fused.ptr >> 2) + Math.floor(i / 48) * 144 + part * 48 + i % 48] = x[i];
        }
        return { ptr: fused.ptr + part * 192, shape: [2, 50, 48], stride: 144 };
      });
      assertSameBits(rt.values(attention(rt, views[0], views[1], views[2], p)), tight, "views");
      rt.clear();
    });

    test("an image of a batch has the bits that it has alone", () => {
      const p = { batch: 3, queries: 300, keys: 77, heads: 2, depth: 40 };
      const values = inputs(p);
      const all = run(rt, p, values);
      const third = values.map((x) => x.subarray(2 * x.length / 3)) as unknown as Triple<Float32Array>;
      assertSameBits(run(rt, { ...p, batch: 1 }, third), all.subarray(2 * all.length / 3), "third image");
      rt.clear();
    });

    test("the bits depend neither on the number of threads nor on the order of tasks", async () => {
      const problems: Problem[] = [
        { batch: 2, queries: 700, keys: 300, heads: 2, depth: 40 },
        { queries: 300, keys: 300, heads: 1, depth: 64, causal: true },
        { queries: 200, keys: 50, heads: 1, depth: 512 },
      ];
      const expected = problems.map((p) => run(rt, p));
      rt.clear();
      for (const options of [{ reverse: true }, { threads: 2 }, { threads: 3 }]) {
        const other = await GuardedRuntime.start({ choice, ...options });
        problems.forEach((p, i) => assertSameBits(run(other, p), expected[i], JSON.stringify(options)));
        await other.dispose();
      }
    });

    test("refuses a head width that is no multiple of 4", () => {
      const p = { queries: 2, keys: 2, heads: 2, depth: 6, name: "attn1" };
      assert.throws(() => run(rt, p), {
        name: "RangeError",
        message: 'Cannot run attention "attn1": expected a head width that is a multiple of 4, found 6',
      });
      rt.clear();
    });
  });
}

test("strict attention has the same bits on every engine", async () => {
  const rt = await GuardedRuntime.start({ choice: "strict" });
  const hashes = [
    bitsHash(run(rt, { queries: 100, keys: 230, heads: 2, depth: 40, size: 3 })),
    bitsHash(run(rt, { queries: 77, keys: 77, heads: 1, depth: 64, causal: true })),
  ];
  await rt.dispose();
  assert.deepEqual(hashes, ["4a40e018", "7e32bc05"]);
});

test("every block size fits a thread's scratch and its tiles", () => {
  for (const depth of [4, 40, 64, 160, 512, 1024, 4096]) {
    for (const queries of [1, 77, 256, 4096, 9216, 16384]) {
      for (const keys of [1, 77, 4096, 16384]) {
        for (const problems of [1, 2, 16]) {
          const { queryBlock, keyBlock } = attentionBlocks({ queries, keys, depth, problems });
          const bytes = attentionScratch(depth, queryBlock, keyBlock);
          assert.ok(bytes <= SCRATCH_BYTES, `${depth} ${queries} ${keys}: ${bytes} bytes`);
          assert.equal(queryBlock % 8, 0);
          assert.equal(keyBlock % 5, 0);
        }
      }
    }
  }
});
