/** Matching, merging and unmerging against tomesd, on every backend. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { bipartiteSoftMatchingRandom2d } from "../../src/tome/bipartite_soft_matching.ts";
import { assertClose } from "../support/assert_close.ts";
import { backends, tomeCases } from "./cases.ts";

const cases = [...await tomeCases("models/emoji/golden/golden"), ...await tomeCases("tests/goldens/tome")];
const all = await backends();
after(() => Promise.all(Object.values(all).map((b) => b.dispose())));

/** For each image: the row of every token, in tomesd's numbering of the rows. */
async function expectedRows(c: (typeof cases)[number]): Promise<Int32Array> {
  if (c.has("row_of")) return await c.ints("row_of");
  const tokens = c.h * c.w;
  const dst = [...await c.ints("dst_tokens")].sort((a, b) => a - b);
  const unmerged = await c.ints("unmerged_tokens");
  const kept = unmerged.length / c.batch;
  const rowOf = new Int32Array(c.batch * tokens).fill(-1);
  const merged = await c.ints("merged_tokens"), into = await c.ints("merged_into");
  for (let b = 0; b < c.batch; b++) {
    const at = b * tokens;
    for (let i = 0; i < kept; i++) rowOf[at + unmerged[b * kept + i]] = i;
    dst.forEach((token, d) => rowOf[at + token] = kept + d);
    for (let i = 0; i < c.r; i++) {
      rowOf[at + merged[b * c.r + i]] = kept + dst.indexOf(into[b * c.r + i]);
    }
  }
  return rowOf;
}

/** Rows 0..kept−1 renumbered by ascending token: what sets have in common, and what `match` promises. */
function ascending(rowOf: Int32Array, { batch, kept }: { batch: number; kept: number }): Int32Array {
  const tokens = rowOf.length / batch;
  return rowOf.map((row, i) => {
    if (row >= kept) return row;
    const b = Math.floor(i / tokens);
    return rowOf.subarray(b * tokens, i).filter((other) => other < kept).length;
  });
}

for (const c of cases) {
  for (const [device, b] of Object.entries(all)) {
    test(`${c.name} (${c.h}×${c.w}, cells ${c.sy}×${c.sx}, r ${c.r}) on ${device}`, async () => {
      const { batch, h, w, channels, sx, sy, r } = c;
      const tokens = h * w;
      const metric = await c.f32("metric"), input = await c.f32("input");
      const randIdx = await c.ints("rand_idx");
      const expected = await expectedRows(c);
      const destinations = randIdx.length;
      const kept = tokens - r - destinations;

      const soft = await bipartiteSoftMatchingRandom2d(b, metric, {
        batch,
        width: w,
        height: h,
        channels,
        sx,
        sy,
        r: c.r_asked,
        randIdx,
      });
      assert.equal(soft.r, r);
      const { rowOf } = soft.read();
      const sets = { batch, kept };
      assert.deepEqual(ascending(rowOf, sets), ascending(expected, sets));
      const merged = await soft.merge(input, channels);
      const golden = await c.f32("merged");
      if (c.compare === "order") {
        assert.deepEqual(rowOf, expected);
        assert.deepEqual(soft.unmIdx, await c.ints("unmerged_tokens"));
        if (c.has("merged_tokens")) {
          assert.deepEqual(soft.srcIdx, await c.ints("merged_tokens"));
          assert.deepEqual(soft.dstIdx, await c.ints("merged_into"));
        }
        assertClose(merged, golden, { atol: 1e-5, label: "merged" });
      }
      // The rows of both merged matrices, by the tokens that went there.
      for (let i = 0; i < batch * tokens; i++) {
        const image = Math.floor(i / tokens) * (tokens - r);
        const ours = (image + rowOf[i]) * channels, theirs = (image + expected[i]) * channels;
        assertClose(merged.subarray(ours, ours + channels), golden.subarray(theirs, theirs + channels), {
          atol: 1e-5,
          label: `the row of token ${i}`,
        });
      }
      assertClose(await soft.unmerge(merged, channels), await c.f32("unmerged"), {
        atol: 1e-5,
        label: "unmerged",
      });

      // The plan that models use.
      const shared = Int32Array.from({ length: batch * destinations }, (_, i) => randIdx[i % destinations]);
      const plan = b.match(b.upload(metric, [batch, tokens, channels]), {
        height: h,
        width: w,
        sx,
        sy,
        r,
        randIdx: shared,
      });
      assert.deepEqual((await b.readPlan(plan)).rowOf, ascending(expected, sets));
      const out = b.unmerge(plan, b.merge(plan, b.upload(input, [batch, tokens, channels])));
      assertClose(await b.read(out), await c.f32("unmerged"), { atol: 1e-5, label: "unmerged by the plan" });
    });
  }
}
