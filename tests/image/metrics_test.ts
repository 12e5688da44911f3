import { test } from "node:test";
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { psnr, ssim } from "../../src/image/metrics.ts";
import type { RgbaImage } from "../../src/image/png.ts";

const goldens = JSON.parse(await readFile(new URL("goldens.json", import.meta.url), "utf8"));

/** The pictures that make_goldens.py computes too. */
function pair(width: number, height: number, amount: number): [RgbaImage, RgbaImage] {
  const a = new Uint8ClampedArray(width * height * 4), b = new Uint8ClampedArray(width * height * 4);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) {
        const at = (y * width + x) * 4 + c;
        a[at] = (x * 7 + y * 13 + c * 29 + (x * y) % 17 * 3) % 256;
        b[at] = a[at] + (x * 31 + y * 17 + c * 5) % (2 * amount + 1) - amount;
      }
      // Alpha counts in neither.
      b[(y * width + x) * 4 + 3] = 255;
    }
  }
  return [{ width, height, data: a }, { width, height, data: b }];
}

// Goldens: scikit-image; make them again with make_goldens.py beside this file.
for (const { width, height, amount, psnr: expectedPsnr, ssim: expectedSsim } of goldens.metrics) {
  test(`PSNR and SSIM are scikit-image's: ${width}x${height}, disturbed by up to ${amount}`, () => {
    const [a, b] = pair(width, height, amount);
    assert.ok(Math.abs(psnr(a, b) - expectedPsnr) < 1e-9, `${psnr(a, b)} is not ${expectedPsnr}`);
    assert.ok(Math.abs(ssim(a, b) - expectedSsim) < 1e-6, `${ssim(a, b)} is not ${expectedSsim}`);
    assert.ok(Math.abs(ssim(a, b) - ssim(b, a)) < 1e-12);
  });
}

test("a picture equals itself", () => {
  const [a] = pair(20, 20, 1);
  assert.equal(psnr(a, a), Infinity);
  assert.ok(Math.abs(ssim(a, a) - 1) < 1e-12);
});

test("pictures of different size, or too small for the window, are refused", () => {
  const [a] = pair(20, 20, 1), [b] = pair(20, 21, 1), [small] = pair(10, 40, 1);
  for (const measure of [psnr, ssim]) {
    assert.throws(() => measure(a, b), { name: "RangeError", message: /found 20x20 and 20x21/ });
    assert.throws(() => measure(a, { ...a, data: a.data.subarray(4) }), RangeError);
  }
  assert.throws(() => ssim(small, small), {
    name: "RangeError",
    message: /at least 11x11 pixels, found 10x40/,
  });
});
