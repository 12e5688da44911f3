/** Token merging on the GPU: what its tiles, workgroups and storage add to tests/tome, which runs there as well. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { MatchOptions, MergePlan, Tensor } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { cellCount, splitTokens } from "../../src/backend/token_lists.ts";
import type { WebgpuBackend } from "../../src/backend/webgpu/backend.ts";
import type { GpuRuntime, GpuTensor } from "../../src/backend/webgpu/runtime.ts";
import { match } from "../../src/backend/webgpu/tome.ts";
import { assertClose } from "../support/assert_close.ts";
import { gpuBackends } from "../support/gpu.ts";
import { randomArray, randomIntegers } from "../support/random.ts";
import { tomeCases } from "../tome/cases.ts";

const all = await gpuBackends({ poison: true });
const reference = createReferenceBackend();
const goldens = [...await tomeCases("models/emoji/golden/golden"), ...await tomeCases("tests/goldens/tome")];
after(() => Promise.all(Object.values(all).map((b) => b.dispose())));

function onEvery(name: string, body: (b: WebgpuBackend) => Promise<void>): void {
  for (const [device, b] of Object.entries(all)) test(`${name}, on ${device}`, () => body(b));
}

interface Case extends MatchOptions {
  batch: number;
  channels: number;
}

/** Sums in f32 in another order, over values of size 1 in all. */
const NEAR = 2e-6;

/** The plan of the reference for the metric as the device holds it, but for choices closer than `NEAR`. */
async function checkPlan(b: WebgpuBackend, metric: Float32Array, c: Case): Promise<void> {
  const { batch, height, width, channels, r } = c;
  const tokens = height * width, destinations = cellCount(c), sources = tokens - destinations;
  const shape = [batch, tokens, channels];
  const x = b.upload(metric, shape);
  const held = await b.read(x);
  const { nodeMax } = await reference.bestMatches(reference.upload(held, shape), c);
  const found = await b.bestMatches(x, c);
  assertClose(found.nodeMax, nodeMax, { atol: NEAR, label: "nodeMax" });
  const plan = b.match(x, c);
  const { rowOf } = await b.readPlan(plan);
  const kept = sources - r;
  for (let image = 0; image < batch; image++) {
    const lists = { sources: new Int32Array(sources), destinations: new Int32Array(destinations) };
    splitTokens(c, { ...lists, randIdx: c.randIdx, from: image * destinations });
    const row = (token: number) => rowOf[image * tokens + token];
    const at = (token: number) => held.subarray((image * tokens + token) * channels).subarray(0, channels);
    lists.destinations.forEach((token, d) => assert.equal(row(token), kept + d, `destination ${d}`));
    const merged: number[] = [], unmerged: number[] = [];
    lists.sources.forEach((token, s) => {
      const score = nodeMax[image * sources + s];
      if (row(token) < kept) {
        assert.equal(row(token), unmerged.length, `unmerged source ${s}`);
        unmerged.push(score);
      } else {
        merged.push(score);
        const to = lists.destinations[row(token) - kept];
        assert.ok(cosine(at(token), at(to)) >= score - NEAR, `source ${s} goes to a destination less alike`);
      }
    });
    assert.equal(merged.length, r);
    assert.ok(Math.min(...merged) >= Math.max(-2, ...unmerged) - NEAR, "the sources merged are less alike");
  }
  b.free(plan);
  b.free(x);
}

function cosine(p: Float32Array, q: Float32Array): number {
  const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, v, i) => sum + v * b[i], 0);
  const lengths = Math.sqrt(dot(p, p) * dot(q, q));
  return lengths === 0 ? 0 : dot(p, q) / lengths;
}

onEvery("the goldens' metrics, rounded to the device's storage, give the oracle's plans", async (b) => {
  for (const c of goldens) {
    const drawn = await c.ints("rand_idx");
    const randIdx = Int32Array.from({ length: c.batch * drawn.length }, (_, i) => drawn[i % drawn.length]);
    const { batch, h: height, w: width, channels, sx, sy, r } = c;
    await checkPlan(b, await c.f32("metric"), { batch, height, width, channels, sx, sy, r, randIdx });
  }
});

// Destinations, and sources = 3 · destinations or so, below, at and above tiles of 64; tokens around 256 threads.
const SIZES: [height: number, width: number, sx: number, sy: number][] = [
  [2, 42, 2, 2], // 21 destinations, 63 sources
  [8, 16, 2, 1], // 64 and 64
  [10, 13, 2, 1], // 60 and 70
  [5, 26, 1, 2], // 52 and 78
  [16, 16, 2, 2], // 64, 192; 256 tokens
  [15, 17, 3, 1], // 75, 180; 255 tokens
  [1, 257, 4, 1], // 64, 193; 257 tokens
  [26, 40, 2, 2], // 260, 780: five panels, split
];

onEvery("plans of sizes around the tiles", async (b) => {
  for (const [i, [height, width, sx, sy]] of SIZES.entries()) {
    for (const channels of [4, 15, 16, 20, 33]) {
      const cells = { height, width, sx, sy };
      const destinations = cellCount(cells), sources = height * width - destinations;
      const metric = randomArray(2 * height * width * channels, 50 + i);
      const randIdx = randomIntegers(2 * destinations, sx * sy, i);
      const r = Math.max(1, Math.floor(sources * [0.3, 0.5, 1][channels % 3]));
      await checkPlan(b, metric, { ...cells, batch: 2, channels, r, randIdx });
    }
  }
});

onEvery("the same input gives the same bits again", async (b) => {
  const [side, channels] = [40, 24];
  const metric = randomArray(2 * side * side * channels, 3);
  const crowded = randomIntegers(2 * side * side, 100, 4).map((row, i) =>
    i % (side * side) < 100 ? i % 100 : row
  );
  const run = async () => {
    const [a, c] = b.scope(() => {
      const x = b.upload(metric, [2, side * side, channels]);
      const plan = b.match(x, { height: side, width: side, sx: 2, sy: 2, r: 1000 });
      const tight = b.planFrom({ rowOf: crowded }, {
        batch: 2,
        tokens: side * side,
        merged: side * side - 100,
      });
      return [b.unmerge(plan, b.merge(plan, x), x), b.merge(tight, x)];
    });
    const values = [await b.read(a), await b.read(c)];
    b.free(a);
    b.free(c);
    return values;
  };
  const first = await run();
  for (let i = 0; i < 3; i++) assert.deepEqual(await run(), first);
});

onEvery("all tokens equal: one row takes all that merge, and they come back bit by bit", async (b) => {
  const [side, channels, r] = [24, 12, 400];
  const x = b.upload(new Float32Array(side * side * channels).fill(0.75), [1, side * side, channels]);
  const plan = b.match(x, { height: side, width: side, sx: 2, sy: 2, r });
  const { rowOf } = await b.readPlan(plan);
  const kept = side * side - side * side / 4 - r;
  assert.equal(rowOf.filter((row) => row === kept).length, r + 1);
  assert.deepEqual(await b.read(b.unmerge(plan, b.merge(plan, x))), await b.read(x));
});

onEvery("merge and unmerge round once, whatever the storage", async (b) => {
  const [tokens, kept] = [300, 70];
  const rowOf = randomIntegers(2 * tokens, kept, 9);
  for (let i = 0; i < 2 * kept; i++) rowOf[Math.floor(i / kept) * tokens + 2 * (i % kept) + 1] = i % kept;
  const shape = { batch: 2, tokens, merged: tokens - kept };
  for (const channels of [8, 13]) {
    const x = b.upload(randomArray(2 * tokens * channels, 1), [2, tokens, channels]);
    const held = reference.upload(await b.read(x), x.shape);
    const [plan, oracle] = [b, reference].map((b) => b.planFrom({ rowOf }, shape));
    const merged = b.merge(plan, x), restored = b.unmerge(plan, merged, x);
    const again = reference.upload(await b.read(merged), merged.shape);
    const expected = [reference.merge(oracle, held), reference.unmerge(oracle, again, held)];
    for (const [i, out] of [merged, restored].entries()) {
      const values = await b.read(out), want = await reference.read(expected[i]);
      // Half a unit in the last place of f16, 2^-11, and what f32 adds before that.
      const rtol = b.host.f16 ? 2 ** -11 + 1e-6 : 1e-6;
      assertClose(values, want, { atol: 1e-6, rtol, label: ["merge", "unmerge"][i] });
    }
  }
});

onEvery("a row adds its tokens in ascending order", async (b) => {
  // Only in this order do the two large terms leave the small ones alone, which f16 holds as well.
  const terms = [32768, -32768, 2 ** -12, 2 ** -12];
  const [kept, channels] = [90, 7];
  const tokens = 4 * kept;
  const rowOf = Int32Array.from({ length: tokens }, (_, n) => (n * 7) % kept);
  const values = Float32Array.from(
    { length: tokens * channels },
    (_, i) => terms[Math.floor(i / channels / kept)],
  );
  const plan = b.planFrom({ rowOf }, { batch: 1, tokens, merged: tokens - kept });
  const merged = await b.read(b.merge(plan, b.upload(values, [1, tokens, channels])));
  assert.deepEqual(merged, new Float32Array(kept * channels).fill(2 ** -13));
});

onEvery("a step with other destinations makes nothing new and reads nothing back", async (b) => {
  const [side, channels] = [16, 20];
  const metric = randomArray(2 * side * side * channels, 6);
  const step = async (seed: number) => {
    const randIdx = randomIntegers(2 * side * side / 4, 4, seed);
    const [out, plan] = b.scope(() => {
      const x = b.upload(metric, [2, side * side, channels]);
      const plan = b.match(x, { height: side, width: side, sx: 2, sy: 2, r: 100, randIdx });
      return [b.unmerge(plan, b.merge(plan, x), x), plan] as const;
    });
    const { maps } = counters;
    const { rowOf } = await b.readPlan(plan as MergePlan);
    b.free(out as Tensor);
    b.free(plan as MergePlan);
    return { maps, rowOf };
  };
  const { counters } = b.host.recorder;
  const first = await step(1);
  const { bindGroups, pipelines, maps } = counters;
  const second = await step(2);
  assert.notDeepEqual(second.rowOf, first.rowOf);
  assert.deepEqual([second.maps, counters.bindGroups, counters.pipelines], [maps, bindGroups, pipelines]);
  assert.deepEqual((await step(1)).rowOf, first.rowOf);
});

test("at 128×128 tokens matching and plan hold less than a tenth of the score matrix", () => {
  const [side, channels] = [128, 320];
  const scores = 12288 * 4096 * 4;
  let held = 0, most = 0;
  // Counts what is asked for and runs nothing: software adapters would take a minute.
  const counting = {
    allocBytes(size: number) {
      held += size;
      most = Math.max(most, held);
      return { size };
    },
    release: ({ size }: { size: number }) => held -= size,
    write() {},
    run() {},
  } as unknown as GpuRuntime;
  const x = { shape: [1, side * side, channels], stride: channels, offset: 0 } as unknown as GpuTensor;
  const plan = match(counting, x, { height: side, width: side, sx: 2, sy: 2, r: side * side / 2 });
  assert.ok(most < scores / 10, `${most} bytes, the scores ${scores}`);
  assert.equal(held, plan.rowOf.size + plan.ends.size + plan.members.size);
});
