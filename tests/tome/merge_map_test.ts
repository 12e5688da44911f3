import assert from "node:assert/strict";
import { test } from "node:test";
import { createBackend } from "../../src/backend/mod.ts";
import { bipartiteSoftMatchingRandom2d } from "../../src/tome/bipartite_soft_matching.ts";
import { tokensMergedInto } from "../../src/tome/merge_map.ts";
import { randomArray } from "../support/random.ts";

test("the map of a plan is what the matching says, token by token", async () => {
  const backend = await createBackend("reference");
  for (
    const [width, height, sx, sy, r] of [[6, 4, 2, 2, 9], [7, 5, 2, 2, 20], [9, 6, 3, 2, 1], [8, 8, 4, 4, 60]]
  ) {
    const channels = 8, tokens = width * height, cells = { width, height, sx, sy };
    const destinations = Math.floor(width / sx) * Math.floor(height / sy);
    const randIdx = Int32Array.from({ length: destinations }, (_, i) => (i * 7 + 3) % (sx * sy));
    const metric = randomArray(tokens * channels, 5);
    for (const drawn of [randIdx, undefined]) {
      const options = { batch: 1, ...cells, channels, r, randIdx: drawn, noRand: !drawn };
      const plan = await bipartiteSoftMatchingRandom2d(backend, metric, options);
      const expected = Int32Array.from({ length: tokens }, (_, i) => i);
      plan.srcIdx.forEach((src, i) => expected[src] = plan.dstIdx[i]);
      const x = backend.keep(backend.upload(metric, [1, tokens, channels]));
      const match = backend.keep(backend.match(x, { ...cells, r: plan.r, randIdx: drawn }));
      const { rowOf } = await backend.readPlan(match);
      assert.deepEqual(tokensMergedInto(rowOf, cells, drawn), expected, `${width}x${height}, r ${r}`);
    }
  }
  await backend.dispose();
});
