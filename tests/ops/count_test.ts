import assert from "node:assert/strict";
import { test } from "node:test";
import type { Backend, HostTensor } from "../../src/backend/backend.ts";
import { countWork, WorkLog } from "../../src/backend/count.ts";
import { createBackend } from "../../src/backend/mod.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { createShapesBackend } from "../../src/backend/shapes/backend.ts";

/** A weight without its bytes, which `shapes` never reads. */
const host = (name: string, ...shape: number[]): HostTensor => ({
  name,
  dtype: "F16",
  shape,
  data: new Uint8Array(),
});

function counted(): { b: Backend; log: WorkLog } {
  const log = new WorkLog();
  return { b: countWork(createShapesBackend(), log), log };
}

test("multiply-adds are counted per layer, at sizes that no test could compute", () => {
  const { b, log } = counted();
  const image = b.empty([2, 512, 512, 320]),
    tokens = b.reshape(image, [2, 512 * 512, 320]),
    text = b.empty([2, 77, 320]);
  const to_q = b.linearWeight([host("to_q.weight", 640, 320)]),
    conv = b.convWeight(host("conv.weight", 4, 320, 3, 3));
  b.linear(tokens, to_q);
  b.linear(tokens, to_q);
  b.linear(b.empty([2, 320]), to_q);
  b.conv2d(image, conv, { stride: 2 });
  b.attention(tokens, text, text, { heads: 8, name: "attn2" });
  b.attention(text, text, text, { heads: 8, causal: true });
  b.match(tokens, { height: 512, width: 512, sx: 2, sy: 2, r: 1000, name: "block" });

  const n = 512 * 512, one = { merged: 0, calls: 1, batch: 2, keys: 0 };
  assert.deepEqual(log.entries, [
    { ...one, kind: "linear", name: "to_q.weight", tokens: n, calls: 2, multiplyAdds: 2 * 2 * n * 320 * 640 },
    { ...one, kind: "linear", name: "to_q.weight", tokens: 1, multiplyAdds: 2 * 320 * 640 },
    { ...one, kind: "conv2d", name: "conv.weight", tokens: n / 4, multiplyAdds: 2 * n / 4 * 9 * 320 * 4 },
    { ...one, kind: "attention", name: "attn2", tokens: n, keys: 77, multiplyAdds: 2 * 2 * n * 77 * 320 },
    {
      ...one,
      kind: "attention",
      name: "attention",
      tokens: 77,
      keys: 77,
      multiplyAdds: 2 * 2 * 77 * 77 * 320,
    },
    {
      ...one,
      kind: "match",
      name: "block",
      tokens: n,
      keys: n / 4,
      merged: 1000,
      multiplyAdds: 2 * n * 0.75 * n / 4 * 320,
    },
  ]);
  const sum = log.entries.reduce((total, entry) => total + entry.multiplyAdds, 0);
  assert.equal(log.multiplyAdds, sum);
  assert.equal(Object.values(log.totals).reduce((a, b) => a + b), sum);
  log.clear();
  assert.deepEqual([log.entries.length, log.multiplyAdds], [0, 0]);
});

test("merging half of the tokens leaves a quarter of the attention", () => {
  const { b, log } = counted();
  const x = b.empty([1, 64, 32]);
  const plan = b.match(x, { height: 8, width: 8, sx: 2, sy: 2, r: 32 });
  const merged = b.merge(plan, x);
  b.attention(x, x, x, { heads: 1, name: "full" });
  b.attention(merged, merged, merged, { heads: 1, name: "merged" });
  assert.deepEqual(b.unmerge(plan, merged, x).shape, [1, 64, 32]);
  const work = (name: string) => log.entries.find((entry) => entry.name === name)!.multiplyAdds;
  assert.equal(work("merged"), work("full") / 4);
});

test("a counted backend computes what the backend computes, on the same handles; refused calls do not count", async () => {
  const plain = createReferenceBackend(), log = new WorkLog(), b = countWork(plain, log);
  const x = plain.upload(Float32Array.of(1, 2, 3, 4), [2, 2]);
  const w = b.linearWeight([{
    ...host("w", 1, 2),
    dtype: "F32",
    data: new Uint8Array(Float32Array.of(10, 1).buffer),
  }]);
  const y = b.scope(() => b.linear(x, w));
  assert.deepEqual(await plain.read(y), Float32Array.of(12, 34));
  assert.equal(b.device, "reference");
  assert.equal(b.peakBytes(), plain.peakBytes());
  assert.throws(() => b.linear(y, w), RangeError);
  assert.equal(log.multiplyAdds, 4);
});

test("shapes: values read as zeros, plans have the right sizes", async () => {
  const b = createShapesBackend();
  const x = b.upload(Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8), [1, 4, 2]);
  assert.deepEqual(await b.read(x), new Float32Array(8));
  const grid = { height: 2, width: 2, sx: 2, sy: 2 };
  const { rowOf } = await b.readPlan(b.match(x, { ...grid, r: 2 }));
  assert.deepEqual([rowOf.length, new Set(rowOf)], [4, new Set([0, 1])]);
  assert.equal((await b.bestMatches(x, grid)).nodeIdx.length, 3);
});

test("createBackend: devices by name", async () => {
  for (const name of ["cpu", "reference"] as const) {
    const b = await createBackend(name, { threads: 1 });
    assert.equal(b.device, name);
    await b.dispose();
  }
  await assert.rejects(createBackend("tpu" as "cpu"), /expected auto, cpu, gpu or reference, found tpu/);
});
