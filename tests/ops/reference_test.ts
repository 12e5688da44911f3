/**
 * The oracle itself, against PyTorch and tomesd. To make tests/goldens/ops.safetensors again, see the first
 * lines of tests/goldens/make_ops.py.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Tensor } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { assertClose } from "../support/assert_close.ts";
import { type Golden, readGoldens } from "../support/golden.ts";

const goldens = await readGoldens("goldens/ops.safetensors");
const b = createReferenceBackend();

function golden(name: string): Golden {
  const found = goldens.get(name);
  assert.ok(found, `tests/goldens/ops.safetensors has no ${name}`);
  return found;
}

const upload = (name: string) => b.upload(golden(name).values, golden(name).shape);

/** PyTorch sums in f32, the reference in f64: both are within a few ulps of values of size 1 to 10. */
async function assertGolden(actual: Tensor, name: string, atol = 3e-6): Promise<void> {
  const { values, shape } = golden(name);
  assert.deepEqual(actual.shape, shape);
  assertClose(await b.read(actual), values, { atol, rtol: 2e-6, label: name, shape });
}

test("linear, with and without an epilogue", async () => {
  const x = upload("linear/x"), w = b.linearWeight([golden("linear/w")], [golden("linear/b")]);
  await assertGolden(b.linear(x, w), "linear/y");
  const options = {
    activation: "silu",
    residual: upload("linear/residual"),
    rowBias: upload("linear/row_bias"),
  };
  await assertGolden(b.linear(x, w, { ...options, activation: "silu" }), "linear/y_epilogue");
});

test("linear weights in half precision are widened exactly", async () => {
  for (const dtype of ["f16", "bf16"]) {
    const w = b.linearWeight([golden(`linear_${dtype}/w`)]);
    await assertGolden(b.linear(upload("linear/x"), w), `linear_${dtype}/y`);
  }
});

test("linear weights are stacked along their outputs", async () => {
  const x = upload("linear/x"), w = golden("linear/w"), bias = golden("linear/b");
  const both = b.linear(x, b.linearWeight([w, w], [bias, bias]));
  assert.deepEqual(both.shape, [2, 5, 18]);
  await assertGolden(b.columns(both, 0, 9), "linear/y");
  await assertGolden(b.columns(both, 9, 18), "linear/y");
});

test("conv2d: padding, stride 2, uneven padding, 1×1", async () => {
  const x = upload("conv/x"), w = b.convWeight(golden("conv/w"), golden("conv/b"));
  await assertGolden(b.conv2d(x, w), "conv/same");
  await assertGolden(b.conv2d(x, w, { stride: 2 }), "conv/stride2");
  await assertGolden(b.conv2d(x, w, { stride: 2, pad: [0, 0, 1, 1] }), "conv/right_bottom");
  await assertGolden(b.conv2d(x, b.convWeight(golden("conv/w1"))), "conv/one");
});

test("group norm and layer norm", async () => {
  const x = upload("group_norm/x"), w = b.normWeight(golden("group_norm/w"), golden("group_norm/b"));
  await assertGolden(b.groupNorm(x, w, { groups: 4, eps: 1e-5 }), "group_norm/y");
  await assertGolden(b.groupNorm(x, w, { groups: 4, eps: 1e-5, silu: true }), "group_norm/silu");
  await assertGolden(b.layerNorm(upload("layer_norm/x"), w, { eps: 1e-5 }), "layer_norm/y");
});

test("attention, plain and causal", async () => {
  const q = upload("attention/q"), k = upload("attention/k"), v = upload("attention/v");
  await assertGolden(b.attention(q, k, v, { heads: 2 }), "attention/y");
  const first = (x: Tensor) =>
    b.stack([0, 1].map((i) => b.reshape(b.rows(b.reshape(x, [18, 8]), 9 * i, 9 * i + 6), [1, 6, 8])));
  await assertGolden(
    b.attention(q, first(k), first(v), { heads: 2, causal: true, scale: 0.3 }),
    "attention/causal",
  );
});

test("activations and geglu", async () => {
  for (const kind of ["silu", "gelu", "quick_gelu"] as const) {
    await assertGolden(b.activation(upload("activation/x"), kind), `activation/${kind}`);
  }
  await assertGolden(b.geglu(upload("geglu/x")), "geglu/y");
});

test("upsample to 2H and to 2H − 1", async () => {
  await assertGolden(b.upsample(upload("upsample/x"), 8, 6), "upsample/even");
  await assertGolden(b.upsample(upload("upsample/x"), 7, 5), "upsample/odd");
});

test("merge and unmerge give what tomesd gives", async () => {
  const x = upload("merge/x"), metric = upload("merge/metric");
  const draws = { top_left: undefined, rand: Int32Array.from(golden("merge/rand").values) };
  for (const [name, randIdx] of Object.entries(draws)) {
    for (const r of [1, 11, 24]) {
      const plan = b.match(metric, { height: 6, width: 5, sx: 2, sy: 2, r, randIdx });
      const merged = b.merge(plan, x);
      assert.deepEqual(merged.shape, [2, 30 - r, 4]);
      await assertGolden(b.unmerge(plan, merged), `merge/${name}_${r}`);
    }
  }
});

test("match: ties go to the lower destination and to the lower source; rows are in token order", async () => {
  // A grid of 4 × 2 in cells of 2 × 1: destinations 0, 1, 2, 3 in the first and third row.
  const rows = [[1, 0], [1, 0], [1, 0], [0, 0], [0, 1], [2, 0], [0, -3], [1, 1]];
  const grid = { height: 4, width: 2, sx: 1, sy: 2 };
  const metric = b.upload(Float32Array.from(rows.flat()), [1, 8, 2]);
  const { nodeMax, nodeIdx } = await b.bestMatches(metric, grid);
  // Destinations are tokens 0, 1, 4, 5; sources 2, 3, 6, 7. Token 3 has no length.
  assert.deepEqual([...nodeIdx], [0, 0, 0, 0]);
  assertClose(nodeMax, [1, 0, 0, Math.SQRT1_2], { atol: 1e-7 });
  const { rowOf } = await b.readPlan(b.match(metric, { ...grid, r: 3 }));
  // Merged: tokens 2 and 7 for their similarity, then 3 before 6; row 0 is token 6, rows 1 to 4 destinations.
  assert.deepEqual([...rowOf], [1, 2, 1, 1, 3, 4, 0, 1]);
});

test("element-wise operations and copies", async () => {
  const x = b.upload(Float32Array.of(1, 2, 3, 4, 5, 6), [3, 2]);
  const y = b.upload(Float32Array.of(10, 20, 30, 40, 50, 60), [3, 2]);
  const mask = b.upload(Float32Array.of(1, 0, 0.5), [3, 1]);
  assert.deepEqual([...await b.read(b.lincomb([[2, x], [-0.5, y], [1, x]]))], [-2, -4, -6, -8, -10, -12]);
  assert.deepEqual([...await b.read(b.blend(mask, x, y))], [1, 2, 30, 40, 27.5, 33]);
  assert.deepEqual([...await b.read(b.concat(b.columns(x, 1, 2), y))], [2, 10, 20, 4, 30, 40, 6, 50, 60]);
  assert.deepEqual([...await b.read(b.stack([b.rows(x, 2, 3), y]))], [5, 6, 10, 20, 30, 40, 50, 60]);
  const target = b.empty([3, 4]);
  b.write(b.columns(target, 2, 4), x);
  b.write(b.columns(target, 0, 2), y);
  assert.deepEqual([...await b.read(target)], [10, 20, 1, 2, 30, 40, 3, 4, 50, 60, 5, 6]);
});
