/** Options, the patch, and which layers take part. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { downsampling, layerGrid } from "../../src/tome/downsample.ts";
import { checkTokenMerging, type TokenMergingOptions } from "../../src/tome/options.ts";
import { applyPatch, removePatch } from "../../src/tome/patch.ts";

test("the defaults are tomesd's", () => {
  assert.deepEqual(checkTokenMerging({}), {
    ratio: 0.5,
    maxDownsample: 1,
    sx: 2,
    sy: 2,
    useRand: true,
    mergeAttn: true,
    mergeCrossAttn: false,
    mergeMlp: false,
    randomness: "image",
  });
  assert.equal(checkTokenMerging({ ratio: undefined, sx: 4 }).ratio, 0.5);
});

test("a ratio above the reachable maximum names the maximum", () => {
  const maxima = [[2, 2, 0.75], [4, 2, 0.875], [1, 2, 0.5], [1, 1, 0], [3, 3, 1 - 1 / 9]] as const;
  for (const [sx, sy, most] of maxima) {
    assert.equal(checkTokenMerging({ sx, sy, ratio: most }).ratio, most);
    assert.throws(() => checkTokenMerging({ sx, sy, ratio: most + 1e-9 }), (error: Error) => {
      assert.ok(error instanceof RangeError);
      assert.match(error.message, new RegExp(`ratio: expected 0 to ${most}, the maximum .* ${sx}×${sy}`));
      return true;
    });
  }
});

test("values out of range are a RangeError, wrong kinds a TypeError; both name the option", () => {
  const cases: [string, unknown, typeof RangeError | typeof TypeError][] = [
    ["ratio", NaN, RangeError],
    ["ratio", -0.1, RangeError],
    ["ratio", Infinity, RangeError],
    ["ratio", "0.5", TypeError],
    ["ratio", null, TypeError],
    ["sx", 0, RangeError],
    ["sx", 1.5, RangeError],
    ["sy", -2, RangeError],
    ["sy", NaN, RangeError],
    ["sy", "2", TypeError],
    ["maxDownsample", 3, RangeError],
    ["maxDownsample", 16, RangeError],
    ["maxDownsample", "1", TypeError],
    ["useRand", 1, TypeError],
    ["mergeAttn", "yes", TypeError],
    ["mergeCrossAttn", null, TypeError],
    ["mergeMlp", 0, TypeError],
    ["randomness", "batch", RangeError],
    ["randomness", 1, TypeError],
    ["max_downsample", 1, TypeError],
    ["toString", 1, TypeError],
  ];
  for (const [name, value, kind] of cases) {
    assert.throws(() => checkTokenMerging({ [name]: value } as TokenMergingOptions), (error: Error) => {
      assert.ok(error instanceof kind, `${name}: ${value} gave ${error.name}`);
      assert.ok(error.message.includes(name), error.message);
      return true;
    });
  }
  for (const value of [null, 0.5, "on", [0.5]]) {
    assert.throws(() => checkTokenMerging(value as TokenMergingOptions), TypeError);
  }
});

test("a patch replaces the former one, does not follow the caller's object, and goes", () => {
  const pipe = { tokenMerging: null as TokenMergingOptions | null, steps: 20 };
  const options: TokenMergingOptions = { ratio: 0.3, mergeMlp: true };
  assert.equal(applyPatch(pipe, options), pipe);
  options.ratio = 0.7;
  assert.equal(pipe.tokenMerging?.ratio, 0.3);
  assert.equal(applyPatch(pipe).tokenMerging?.mergeMlp, false);
  assert.throws(() => applyPatch(pipe, { ratio: 0.9 }), RangeError);
  assert.equal(pipe.tokenMerging?.ratio, 0.5);
  assert.equal(removePatch(pipe), pipe);
  assert.deepEqual(removePatch(pipe), { tokenMerging: null, steps: 20 });
});

test("down-sampling of a layer, odd sizes too", () => {
  // [latent height, latent width, layer height, layer width, down-sampling]; 1080×1920 px has 135×240 latents.
  const cases = [
    [64, 64, 64, 64, 1],
    [64, 64, 32, 32, 2],
    [64, 64, 16, 16, 4],
    [64, 64, 8, 8, 8],
    [135, 240, 135, 240, 1],
    [135, 240, 68, 120, 2],
    [135, 240, 34, 60, 4],
    [135, 240, 17, 30, 8],
    [135, 135, 68, 68, 2],
    [25, 23, 13, 12, 2],
  ];
  for (const [height, width, h, w, expected] of cases) {
    assert.equal(downsampling({ height, width }, h * w), expected, `${height}×${width} → ${h}×${w}`);
    assert.deepEqual(layerGrid({ height, width }, expected), { height: h, width: w });
  }
});
