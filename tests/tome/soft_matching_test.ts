/** The plain-array function: its edges, on every backend. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import {
  bipartiteSoftMatchingRandom2d as softMatching,
  type SoftMatchingOptions,
} from "../../src/tome/bipartite_soft_matching.ts";
import { randomArray } from "../support/random.ts";
import { backends } from "./cases.ts";

const all = await backends();
after(() => Promise.all(Object.values(all).map((b) => b.dispose())));

const options: SoftMatchingOptions = { batch: 2, width: 7, height: 6, channels: 5, r: 10, noRand: true };
const metric = randomArray(2 * 42 * 5, 1);
const x = randomArray(2 * 42 * 3, 2);

for (const [device, b] of Object.entries(all)) {
  test(`most similar first, and lists that fit together, on ${device}`, async () => {
    const m = await softMatching(b, metric, options);
    const { nodeMax } = await b.bestMatches(b.upload(metric, [2, 42, 5]), {
      height: 6,
      width: 7,
      sx: 2,
      sy: 2,
    });
    const isDestination = (n: number) => Math.floor(n / 7) % 2 === 0 && n % 7 % 2 === 0 && n % 7 < 6;
    const sources = [...Array(42).keys()].filter((n) => !isDestination(n));
    assert.equal(sources.length, 33);
    const { rowOf } = m.read();
    for (let image = 0; image < 2; image++) {
      const order = [
        ...m.srcIdx.slice(image * 10, image * 10 + 10),
        ...m.unmIdx.slice(image * 23, image * 23 + 23),
      ];
      const scores = order.map((n) => nodeMax[image * 33 + sources.indexOf(n)]);
      assert.deepEqual([...scores].sort((a, b) => b - a), scores);
      assert.deepEqual([...order].sort((a, b) => a - b), sources);
      for (let i = 0; i < 10; i++) {
        const into = m.dstIdx[image * 10 + i];
        assert.ok(isDestination(into));
        assert.equal(rowOf[image * 42 + m.srcIdx[image * 10 + i]], rowOf[image * 42 + into]);
      }
    }
  });

  test(`r is capped, r ≤ 0 and a grid smaller than a cell do nothing, on ${device}`, async () => {
    const most = await softMatching(b, metric, { ...options, r: 1000 });
    assert.equal(most.r, 33);
    assert.equal(most.unmIdx.length, 0);
    assert.equal((await most.merge(x, 3)).length, 2 * 9 * 3);
    for (const none of [{ r: 0 }, { r: -5 }, { sx: 8 }, { sy: 7 }, { sx: 1, sy: 1 }]) {
      const m = await softMatching(b, metric, { ...options, ...none });
      assert.deepEqual([m.r, m.srcIdx.length, m.dstIdx.length], [0, 0, 0]);
      const out = await m.merge(x, 3);
      assert.deepEqual(out, x);
      assert.notEqual(out, x);
      assert.deepEqual(await m.unmerge(out, 3), x);
    }
  });

  test(`the caller's arrays stay his, and nothing stays on the device, on ${device}`, async () => {
    const before = [metric.slice(), x.slice()];
    b.peakBytes(true);
    const held = b.peakBytes();
    const m = await softMatching(b, metric, { ...options, seed: 5 });
    const merged = await m.merge(x, 3);
    const copy = merged.slice();
    await m.unmerge(merged, 3);
    assert.deepEqual([metric, x, merged], [...before, copy]);
    b.peakBytes(true);
    assert.equal(b.peakBytes(), held);
  });

  test(`destinations by seed, by position, for each image, on ${device}`, async () => {
    const drawn = await softMatching(b, metric, { ...options, noRand: false, seed: 5 });
    const again = await softMatching(b, metric, { ...options, noRand: undefined, seed: 5 });
    assert.deepEqual(again.read(), drawn.read());
    assert.notDeepEqual(
      (await softMatching(b, metric, { ...options, noRand: false, seed: 6 })).read(),
      drawn.read(),
    );
    const zeros = await softMatching(b, metric, { ...options, noRand: false, randIdx: Array(9).fill(0) });
    const none = await softMatching(b, metric, options);
    assert.deepEqual(zeros.read(), none.read());
    const randIdx = Array.from({ length: 18 }, (_, i) => i < 9 ? 0 : 3);
    const each = await softMatching(b, metric, { ...options, noRand: false, randIdx });
    assert.deepEqual(each.read().rowOf.slice(0, 42), none.read().rowOf.slice(0, 42));
    assert.notDeepEqual(each.read().rowOf.slice(42), none.read().rowOf.slice(42));
  });

  test(`wrong lengths and options name what was expected and found, on ${device}`, async () => {
    const refused = async (change: Partial<SoftMatchingOptions>, expected: RegExp) => {
      await assert.rejects(softMatching(b, metric, { ...options, ...change }), (error: Error) => {
        assert.ok(error instanceof RangeError, error.name);
        assert.match(error.message, expected);
        return true;
      });
    };
    await refused({ channels: 4 }, /metric to be 336 values, \[2, 42, 4\], found 420/);
    await refused({ batch: 0 }, /batch .* found 0/);
    await refused({ width: 6.5 }, /width .* found 6.5/);
    await refused({ sx: NaN }, /sx .* found NaN/);
    await refused({ r: 1.5 }, /r to be an integer, found 1.5/);
    await refused({ r: NaN }, /found NaN/);
    await refused({ noRand: false, seed: 0.5 }, /seed .* found 0.5/);
    await refused({ noRand: false, randIdx: [0, 1] }, /randIdx to be 9 positions.* found 2/);
    await refused({ noRand: false, randIdx: Array(9).fill(4) }, /randIdx\[0\] .* 0..3, found 4/);
    await refused({ noRand: false, randIdx: [0, 0, 0, 0, -1, 0, 0, 0, 0] }, /randIdx\[4\] .* found -1/);
    const m = await softMatching(b, metric, options);
    await assert.rejects(m.merge(x, 4), /x to be 336 values, \[2, 42, 4\], found 252/);
    await assert.rejects(m.unmerge(x, 3), /y to be 192 values, \[2, 32, 3\], found 252/);
    await assert.rejects(m.merge(x, 0), /channels .* found 0/);
    await assert.rejects(m.merge([...x] as unknown as Float32Array, 3), TypeError);
  });
}
