/** Destinations and the plan of a layer. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Backend, MatchOptions, MergePlan, Tensor } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { splitTokens } from "../../src/backend/token_lists.ts";
import { blockKey, drawDestinations, pcg4d } from "../../src/tome/destinations.ts";
import { checkTokenMerging, type TokenMergingOptions } from "../../src/tome/options.ts";
import { type LayerTokens, type MergeContext, planLayer } from "../../src/tome/plan.ts";
import { randomArray } from "../support/random.ts";

const b = createReferenceBackend();

const match = b.match.bind(b);

/** The backend, and what `match` is asked from now on. */
function watched(): { backend: Backend; asked: MatchOptions[] } {
  const asked: MatchOptions[] = [];
  b.match = (metric, options) => {
    asked.push(options);
    return match(metric, options);
  };
  return { backend: b, asked };
}

function context(options: TokenMergingOptions, rest: Partial<MergeContext> = {}): MergeContext {
  return {
    options: checkTokenMerging(options),
    latentHeight: 8,
    latentWidth: 8,
    seeds: [1],
    branches: 2,
    step: 0,
    ...rest,
  };
}

const tokens = (batch: number, n: number) => b.upload(randomArray(batch * n * 4, 1), [batch, n, 4]);
const grid = { name: "down_blocks.0", height: 8, width: 8 };

test("pcg4d gives the words that an implementation with 64-bit integers gives", () => {
  const M = 0xffffffffn;
  const expected = (v: bigint[]) => {
    v = v.map((x) => x * 1664525n + 1013904223n & M);
    const mix = () => {
      v[0] = v[0] + v[1] * v[3] & M;
      v[1] = v[1] + v[2] * v[0] & M;
      v[2] = v[2] + v[0] * v[1] & M;
      v[3] = v[3] + v[1] * v[2] & M;
    };
    mix();
    v = v.map((x) => x ^ x >> 16n);
    mix();
    return v.map(Number);
  };
  const inputs = [[0, 0, 0, 0], [1, 2, 3, 4], [0xffffffff, 0x80000000, 0x7fffffff, 12345]];
  for (const [x, y, z, w] of inputs) {
    assert.deepEqual([...pcg4d(x, y, z, w)], expected([x, y, z, w].map(BigInt)));
  }
});

test("draws are uniform, and depend on seed, block and step", () => {
  const cells = { height: 128, width: 128, sx: 2, sy: 2 };
  const key = { seed: 42, block: blockKey("mid_block"), step: 3 };
  const draw = drawDestinations(cells, key);
  assert.deepEqual(drawDestinations(cells, key), draw);
  const counts = [0, 0, 0, 0];
  for (const at of draw) counts[at]++;
  // 4096 draws: chi-squared with 3 degrees of freedom stays below 16.3 in 999 of 1000 generators.
  const chi = counts.reduce((sum, n) => sum + (n - 1024) ** 2 / 1024, 0);
  assert.ok(chi < 16.3, `${counts}`);
  for (const other of [{ seed: 43 }, { seed: 42 + 2 ** 32 }, { seed: -42 }, { block: 1 }, { step: 4 }]) {
    const second = drawDestinations(cells, { ...key, ...other });
    const same = second.filter((at, i) => at === draw[i]).length;
    assert.ok(same > 800 && same < 1250, `${same} of 4096 are the same with ${JSON.stringify(other)}`);
  }
  const nine = drawDestinations({ height: 30, width: 30, sx: 3, sy: 3 }, key);
  assert.deepEqual([...new Set(nine)].sort(), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
});

test("every token is in one list, ascending; what is outside whole cells is a source", () => {
  for (
    const [height, width, sx, sy] of [[4, 4, 2, 2], [5, 7, 2, 2], [9, 8, 3, 4], [7, 5, 1, 2], [3, 3, 4, 4]]
  ) {
    const cells = { height, width, sx, sy };
    const randIdx = drawDestinations(cells, { seed: 9, block: 0, step: 0 });
    const destinations = new Int32Array(randIdx.length);
    const sources = new Int32Array(height * width - destinations.length);
    splitTokens(cells, { sources, destinations, randIdx });
    assert.deepEqual([...sources].sort((a, b) => a - b), [...sources]);
    const across = Math.floor(width / sx);
    const expected = [...randIdx].map((at, cell) => {
      const y = Math.floor(cell / across) * sy + Math.floor(at / sx);
      return y * width + cell % across * sx + at % sx;
    });
    assert.deepEqual([...destinations], expected.sort((a, b) => a - b));
    const all = [...sources, ...destinations].sort((a, b) => a - b);
    assert.deepEqual(all, [...Array(height * width).keys()]);
  }
});

test("one plan serves the parts that are asked for", () => {
  const x = tokens(2, 64);
  const residual = tokens(2, 64);
  for (
    const [mergeAttn, mergeCrossAttn, mergeMlp] of [[true, false, false], [false, true, true], [
      true,
      true,
      true,
    ]]
  ) {
    const { backend, asked } = watched();
    const layers: LayerTokens[] = [];
    const plans: (MergePlan | undefined)[] = [];
    const merging = context({ mergeAttn, mergeCrossAttn, mergeMlp }, {
      onPlan: (layer, plan) => {
        layers.push(layer);
        plans.push(plan);
      },
    });
    const plan = planLayer(backend, x, { merging, ...grid });
    assert.equal(asked.length, 1);
    assert.deepEqual(layers, [{ name: "down_blocks.0", before: 64, after: 32 }]);
    assert.equal(plans[0]?.merged, 32);
    assert.deepEqual([plan.attn, plan.cross, plan.mlp].map(Boolean), [mergeAttn, mergeCrossAttn, mergeMlp]);
    const part = plan.attn ?? plan.cross!;
    const y = part.merge(x);
    assert.deepEqual(y.shape, [2, 32, 4]);
    assert.deepEqual(part.unmerge(y, residual).shape, [2, 64, 4]);
  }
});

test("nothing merges: ratio 0, no part, a layer too deep, a grid smaller than a cell, no context", () => {
  const nothing = (x: Tensor, options: TokenMergingOptions, rest = {}, at = grid) => {
    const { backend, asked } = watched();
    const layers: LayerTokens[] = [];
    const merging = context(options, { ...rest, onPlan: (layer) => layers.push(layer) });
    assert.deepEqual(planLayer(backend, x, { merging, ...at }), {});
    assert.equal(asked.length, 0);
    assert.deepEqual(layers, [{ name: at.name, before: x.shape[1], after: x.shape[1] }]);
  };
  nothing(tokens(2, 64), { ratio: 0 });
  nothing(tokens(2, 64), { ratio: 0.01 }); // ⌊0.64⌋
  nothing(tokens(2, 64), { mergeAttn: false });
  nothing(tokens(2, 64), {}, { latentHeight: 16, latentWidth: 16 });
  nothing(tokens(2, 64), { maxDownsample: 4 }, { latentHeight: 64, latentWidth: 64 });
  nothing(tokens(2, 64), { sx: 9, sy: 9 });
  nothing(tokens(2, 8), { sx: 1, sy: 2 }, { latentHeight: 1, latentWidth: 8 }, {
    name: "row",
    height: 1,
    width: 8,
  });
  assert.deepEqual(planLayer(b, tokens(2, 64), grid), {});
});

test("a deeper layer takes part with maxDownsample; the largest ratio keeps only destinations", () => {
  const latent = { latentHeight: 15, latentWidth: 16 };
  const { backend, asked } = watched();
  const merging = context({ maxDownsample: 2, ratio: 0.75 }, latent);
  planLayer(backend, tokens(2, 64), { merging, ...grid });
  planLayer(backend, tokens(2, 63), { merging, name: "odd", height: 7, width: 9 });
  assert.deepEqual(asked.map(({ r, height, width }) => [r, height, width]), [[48, 8, 8], [47, 7, 9]]);
});

const draws = (options: TokenMergingOptions, rest: Partial<MergeContext>, name = "a") => {
  const { backend, asked } = watched();
  const merging = context(options, rest);
  const batch = merging.seeds.length * merging.branches;
  planLayer(backend, tokens(batch, 64), { merging, ...grid, name });
  const { randIdx } = asked[0];
  return randIdx && Array.from({ length: batch }, (_, i) => [...randIdx.subarray(i * 16, (i + 1) * 16)]);
};

test("both guidance halves of an image share its draw, whatever else is in the batch", () => {
  const three = draws({}, { seeds: [5, 6, 7] })!;
  assert.deepEqual(three.slice(3), three.slice(0, 3));
  assert.notDeepEqual(three[0], three[1]);
  const alone = draws({}, { seeds: [6], branches: 1 })!;
  assert.deepEqual(alone[0], three[1]);
  assert.notDeepEqual(draws({}, { seeds: [6], branches: 1, step: 1 }), alone);
  assert.notDeepEqual(draws({}, { seeds: [6], branches: 1 }, "another block"), alone);
  assert.equal(draws({ useRand: false }, { seeds: [6] }), undefined);
});

test("as in tomesd: one draw for the batch, and none when it is odd", () => {
  const options: TokenMergingOptions = { randomness: "tomesd" };
  const four = draws(options, { seeds: [5, 6] })!;
  assert.deepEqual(four, Array(4).fill(four[0]));
  assert.deepEqual(draws(options, { seeds: [5, 8], branches: 1 }), four.slice(0, 2));
  assert.equal(draws(options, { seeds: [5], branches: 1 }), undefined);
  assert.equal(draws(options, { seeds: [5, 6, 7], branches: 1 }), undefined);
  assert.ok(draws(options, { seeds: [5, 6, 7], branches: 2 }));
});

test("a batch that is not branches times images is refused", () => {
  assert.throws(
    () => planLayer(b, tokens(3, 64), { merging: context({}), ...grid }),
    /expected 2 branches of 1 images, found a batch of 3/,
  );
});
