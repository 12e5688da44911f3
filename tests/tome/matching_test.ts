/** What holds for every matching, merge and unmerge, on every backend. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { Backend, MatchOptions } from "../../src/backend/backend.ts";
import { createWasmBackend } from "../../src/backend/wasm/backend.ts";
import { drawDestinations } from "../../src/tome/destinations.ts";
import { assertClose } from "../support/assert_close.ts";
import { randomArray, randomIntegers } from "../support/random.ts";
import { backends } from "./cases.ts";

const all = await backends();
const { reference } = all;
after(() => Promise.all(Object.values(all).map((b) => b.dispose())));

function onEvery(name: string, body: (b: Backend) => Promise<void>): void {
  for (const [device, b] of Object.entries(all)) test(`${name}, on ${device}`, () => body(b));
}

const match = async (b: Backend, metric: Float32Array, options: MatchOptions & { batch?: number }) => {
  const { batch = 1, height, width } = options;
  const channels = metric.length / (batch * height * width);
  const plan = b.match(b.upload(metric, [batch, height * width, channels]), options);
  return { plan, rowOf: (await b.readPlan(plan)).rowOf };
};

// Seeds whose similarities lie far enough apart for plans to agree index by index, however the sums are rounded.
// Below, at and above the tiles: 5 sources, 8 destinations, 50 rows a task, 64 destinations a task.
const GRIDS: (MatchOptions & { batch: number; channels: number })[] = [
  { batch: 1, height: 2, width: 2, sx: 2, sy: 2, r: 1, channels: 1 },
  { batch: 1, height: 3, width: 5, sx: 2, sy: 2, r: 13, channels: 3 },
  { batch: 2, height: 4, width: 4, sx: 2, sy: 2, r: 5, channels: 4 },
  { batch: 1, height: 4, width: 8, sx: 2, sy: 2, r: 12, channels: 5 },
  { batch: 3, height: 9, width: 9, sx: 3, sy: 3, r: 40, channels: 31 },
  { batch: 2, height: 16, width: 16, sx: 2, sy: 2, r: 192, channels: 32 },
  { batch: 2, height: 17, width: 19, sx: 2, sy: 2, r: 100, channels: 33 },
  { batch: 1, height: 13, width: 11, sx: 4, sy: 1, r: 60, channels: 40 },
  { batch: 2, height: 24, width: 24, sx: 2, sy: 2, r: 288, channels: 130 },
  { batch: 1, height: 3, width: 135, sx: 2, sy: 2, r: 200, channels: 16 },
];

for (const g of GRIDS) {
  const tokens = g.height * g.width;
  const destinations = Math.floor(g.height / g.sy) * Math.floor(g.width / g.sx);
  const label =
    `${g.batch} × ${g.height}×${g.width}, cells ${g.sy}×${g.sx}, r ${g.r}, ${g.channels} channels`;

  for (const device of Object.keys(all).filter((device) => device !== "reference")) {
    test(`best matches and plan of the oracle, on ${device}: ${label}`, async () => {
      const b = all[device];
      const metric = randomArray(g.batch * tokens * g.channels, tokens + g.channels);
      const randIdx = randomIntegers(g.batch * destinations, g.sx * g.sy, 7);
      const options = { ...g, randIdx };
      // Its rows apart, as in a tensor that is half of a wider one.
      const wide = new Float32Array(g.batch * tokens * (g.channels + 3)).fill(NaN);
      for (let n = 0; n < g.batch * tokens; n++) {
        wide.set(metric.subarray(n * g.channels, (n + 1) * g.channels), n * (g.channels + 3) + 2);
      }
      const shape = [g.batch, tokens, g.channels];
      const x = b.columns(b.upload(wide, [g.batch, tokens, g.channels + 3]), 2, g.channels + 2);
      const found = await b.bestMatches(x, options);
      const expected = await reference.bestMatches(reference.upload(metric, shape), options);
      assertClose(found.nodeMax, expected.nodeMax, { atol: 2e-6, label: "nodeMax" });
      assert.deepEqual(found.nodeIdx, expected.nodeIdx);
      const plan = b.match(x, options);
      const { rowOf } = await match(reference, metric, options);
      assert.deepEqual((await b.readPlan(plan)).rowOf, rowOf);
    });

    test(`merge and unmerge of the oracle, on ${device}: ${label}`, async () => {
      const b = all[device];
      const kept = tokens - g.r;
      // Any plan will do: every row gets one token, the rest go anywhere.
      const anywhere = randomIntegers(g.batch * tokens, kept, 3);
      const rowOf = anywhere.map((row, i) => i % tokens < kept ? (i * 7 + 3) % tokens % kept : row);
      for (let n = 0; n < g.batch; n++) for (let k = 0; k < kept; k++) rowOf[n * tokens + k] = kept - 1 - k;
      const shape = { batch: g.batch, tokens, merged: g.r };
      const x = randomArray(g.batch * tokens * g.channels, 4);
      const residual = randomArray(x.length, 5);
      const run = async (b: Backend) => {
        const plan = b.planFrom({ rowOf }, shape);
        // Views of columns: strides and starts of their own.
        const pad = (v: Float32Array) => {
          const wide = new Float32Array(v.length / g.channels * (g.channels + 1)).fill(NaN);
          for (let i = 0; i < v.length; i++) wide[i + Math.floor(i / g.channels) + 1] = v[i];
          return b.columns(b.upload(wide, [g.batch, tokens, g.channels + 1]), 1, g.channels + 1);
        };
        const y = b.merge(plan, pad(x));
        const parts = [y, b.unmerge(plan, y), b.unmerge(plan, y, pad(residual))];
        return await Promise.all(parts.map((t) => b.read(t)));
      };
      const found = await run(b), expected = await run(reference);
      for (const [i, name] of ["merge", "unmerge", "unmerge with residual"].entries()) {
        assertClose(found[i], expected[i], { atol: 1e-6, rtol: 1e-6, label: name });
      }
    });
  }
}

onEvery("every row has a token, and the rows stand in ascending order", async (b) => {
  const [height, width, r] = [11, 14, 70];
  const tokens = height * width, kept = tokens - r;
  const randIdx = drawDestinations({ height, width, sx: 2, sy: 2 }, { seed: 3, block: 1, step: 0 });
  const { rowOf } = await match(b, randomArray(tokens * 12, 1), { height, width, sx: 2, sy: 2, r, randIdx });
  const members = Array.from({ length: kept }, () => [] as number[]);
  rowOf.forEach((row, n) => members[row].push(n));
  assert.ok(members.every((m) => m.length > 0));
  assert.equal(members.flat().length, tokens);
  const destinations = 5 * 7, unmerged = kept - destinations;
  assert.ok(members.slice(0, unmerged).every((m) => m.length === 1));
  const first = members.slice(0, unmerged).map(([n]) => n);
  assert.deepEqual(first, [...first].sort((a, b) => a - b));
});

onEvery("unmerged tokens come back bit by bit, merged ones as the mean in token order", async (b) => {
  const [height, width, channels, r] = [10, 12, 37, 60];
  const tokens = height * width;
  const x = randomArray(tokens * channels, 8);
  const { plan, rowOf } = await match(b, randomArray(tokens * 16, 9), { height, width, sx: 2, sy: 2, r });
  const out = await b.read(b.unmerge(plan, b.merge(plan, b.upload(x, [1, tokens, channels]))));
  for (let n = 0; n < tokens; n++) {
    const row = rowOf[n];
    const members = [...rowOf.keys()].filter((m) => rowOf[m] === row);
    for (let c = 0; c < channels; c++) {
      const sum = members.reduce((sum, m) => Math.fround(sum + x[m * channels + c]), 0);
      const mean = Math.fround(sum / members.length);
      // The oracle adds in f64.
      const exact = members.length === 1 || b.device === "cpu";
      if (exact) assert.equal(out[n * channels + c], mean, `token ${n}`);
      else assertClose([out[n * channels + c]], [mean], { atol: 1e-6, label: `token ${n}` });
    }
  }
});

onEvery("equal tokens: the lower destination wins, and the lower sources merge", async (b) => {
  const [height, width, channels] = [8, 10, 9];
  const token = randomArray(channels, 2);
  const metric = Float32Array.from({ length: height * width * channels }, (_, i) => token[i % channels]);
  const { nodeIdx } = await b.bestMatches(b.upload(metric, [1, 80, channels]), {
    height,
    width,
    sx: 2,
    sy: 2,
  });
  assert.deepEqual(nodeIdx, new Int32Array(60));
  const { rowOf } = await match(b, metric, { height, width, sx: 2, sy: 2, r: 25 });
  const sources = [...rowOf.keys()].filter((n) => Math.floor(n / 10) % 2 || n % 2);
  assert.deepEqual(sources.filter((n) => rowOf[n] === 35), sources.slice(0, 25));
});

onEvery("of two equal destinations the lower wins, wherever they stand in a tile", async (b) => {
  const [height, width, channels] = [2, 40, 6];
  for (const [low, high] of [[0, 1], [3, 4], [7, 8], [5, 16], [12, 13], [2, 19]]) {
    const metric = randomArray(80 * channels, 30 + low);
    const best = metric.slice(2 * low * channels, (2 * low + 1) * channels);
    metric.set(best, 2 * high * channels);
    for (let n = 40; n < 80; n++) metric.set(best, n * channels);
    const { nodeIdx } = await b.bestMatches(b.upload(metric, [1, 80, channels]), {
      height,
      width,
      sx: 2,
      sy: 2,
    });
    assert.deepEqual(nodeIdx.slice(20), new Int32Array(40).fill(low));
  }
});

onEvery("a token of zero norm has similarity 0 to everything", async (b) => {
  const [height, width, channels] = [4, 8, 5];
  const metric = randomArray(32 * channels, 6).map(Math.abs);
  metric.fill(0, 9 * channels, 10 * channels); // a source
  metric.fill(0, 0, channels); // the first destination
  const x = b.upload(metric, [1, 32, channels]);
  const { nodeMax, nodeIdx } = await b.bestMatches(x, { height, width, sx: 2, sy: 2 });
  const zero = 4 + 1; // sources of row 0: 1, 3, 5, 7; then row 1 from token 8 on
  assert.equal(nodeMax[zero], 0);
  assert.equal(nodeIdx[zero], 0);
  assert.ok(nodeMax.every((v, s) => s === zero || (v > 0 && v < 1 + 1e-6 && nodeIdx[s] > 0)));
});

onEvery("similarities of both signs are selected in order", async (b) => {
  const [height, width] = [2, 12];
  // Two channels: destinations all (1, 0), source s at its own angle.
  const angles = Array.from({ length: 24 }, (_, n) => Math.PI * ((n * 7) % 24) / 24);
  const metric = Float32Array.from({ length: 48 }, (_, i) => {
    const n = i >> 1, angle = n < 12 && n % 2 === 0 ? 0 : angles[n];
    return i % 2 ? Math.sin(angle) : Math.cos(angle);
  });
  const { rowOf } = await match(b, metric, { height, width, sx: 2, sy: 2, r: 13 });
  const sources = [...angles.keys()].filter((n) => n >= 12 || n % 2);
  const expected = sources.sort((i, j) => angles[i] - angles[j]).slice(0, 13).sort((i, j) => i - j);
  assert.deepEqual([...rowOf.keys()].filter((n) => rowOf[n] >= 5 && sources.includes(n)), expected);
});

onEvery("NaN and infinity in the metric: a plan comes out, whole", async (b) => {
  const [height, width, channels, r] = [8, 8, 7, 30];
  for (const poison of [NaN, Infinity, -Infinity, 1e38]) {
    for (const where of [[0], [1], [9, 18], [...Array(64).keys()]]) {
      const metric = randomArray(64 * channels, 11);
      for (const n of where) metric[n * channels + 3] = poison;
      const { rowOf } = await match(b, metric, { height, width, sx: 2, sy: 2, r });
      assert.deepEqual(new Set(rowOf), new Set(Array(34).keys()));
    }
  }
});

test("any number of threads gives the same bits", async () => {
  const [height, width, channels, r] = [40, 36, 64, 700];
  const metric = randomArray(2 * height * width * channels, 12);
  for (const kernels of ["fast", "strict"] as const) {
    const results = [];
    for (const threads of [1, 2, 5]) {
      const b = await createWasmBackend({ kernels, threads });
      const x = b.upload(metric, [2, height * width, channels]);
      const options = { height, width, sx: 2, sy: 2, r };
      const { nodeMax } = await b.bestMatches(x, options);
      const plan = b.match(x, options);
      const y = b.merge(plan, x);
      results.push([nodeMax, await b.read(y), await b.read(b.unmerge(plan, y, x))]);
      await b.dispose();
    }
    assert.deepEqual(results[1], results[0]);
    assert.deepEqual(results[2], results[0]);
  }
});

test("at 128×128 tokens matching and plan hold less than a tenth of the score matrix", async () => {
  const [side, channels] = [128, 320];
  const scores = 12288 * 4096 * 4;
  const b = await createWasmBackend({ threads: 2 });
  const x = b.upload(new Float32Array(side * side * channels).fill(1), [1, side * side, channels]);
  b.peakBytes(true);
  const before = b.peakBytes();
  b.match(x, { height: side, width: side, sx: 2, sy: 2, r: side * side / 2 });
  const held = b.peakBytes() - before;
  assert.ok(held > 0 && held < scores / 10, `${held} bytes, the scores ${scores}`);
  await b.dispose();
});

test("more channels than a task can pack are refused", () => {
  const b = all.fast;
  const x = b.upload(new Float32Array(4 * 90000), [1, 4, 90000]);
  assert.throws(() => b.match(x, { height: 2, width: 2, sx: 2, sy: 2, r: 1 }), /channels, found 90000/);
  b.free(x);
});

test("many channels shrink the block of a task", async () => {
  const options = { height: 6, width: 6, sx: 2, sy: 2, r: 18 };
  const metric = randomArray(36 * 60000, 2);
  const expected = await match(reference, metric, options);
  assert.deepEqual((await match(all.strict, metric, options)).rowOf, expected.rowOf);
});
