import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { blurPicture, crop, paste, resizePicture } from "../../src/image/resize.ts";

interface Rgb {
  width: number;
  height: number;
  rgb: number[];
}

function picture({ width, height, rgb }: Rgb, alpha = (_: number) => 255) {
  const data = new Uint8ClampedArray(width * height * 4);
  for (let p = 0; p < width * height; p++) data.set([...rgb.slice(p * 3, p * 3 + 3), alpha(p)], p * 4);
  return { width, height, data };
}

/** Made by `make_resize_goldens.py`. */
const goldens: Rgb & { resized: Rgb[] } = JSON.parse(
  await readFile(new URL("resize_goldens.json", import.meta.url), "utf8"),
);

test("Lanczos is Pillow's, larger and smaller", () => {
  for (const golden of goldens.resized) {
    const { width, height, data } = resizePicture(picture(goldens), golden);
    assert.deepEqual([width, height], [golden.width, golden.height]);
    const expected = picture(golden).data;
    let largest = 0;
    data.forEach((v, i) => largest = Math.max(largest, Math.abs(v - expected[i])));
    // Pillow's weights are integers.
    assert(largest <= 1, `${width}x${height}: ${largest}`);
  }
});

test("what cannot be seen does not colour what can", () => {
  const green = { width: 4, height: 1, rgb: [0, 255, 0, 0, 255, 0, 255, 0, 0, 255, 0, 0] };
  const { data } = resizePicture(picture(green, (p) => p < 2 ? 255 : 0), { width: 8, height: 1 });
  for (let p = 0; p < 8; p++) {
    if (data[p * 4 + 3] > 0) assert.deepEqual([...data.subarray(p * 4, p * 4 + 3)], [0, 255, 0]);
  }
  assert(data[3] > 200 && data[31] < 50);
});

test("the same size is a copy; the nearest pixel stays what it is", () => {
  const from = picture(goldens);
  const same = resizePicture(from, from);
  assert.deepEqual(same, from);
  assert.notEqual(same.data, from.data);
  const twice = resizePicture(from, { width: 26, height: 18, filter: "nearest" });
  assert.deepEqual(resizePicture(twice, { width: 13, height: 9, filter: "nearest" }), from);
});

test("a blur keeps a flat picture, and spreads a point evenly", () => {
  const flat = { width: 5, height: 5, data: new Uint8ClampedArray(100).fill(255) };
  assert.deepEqual(blurPicture(flat, 2), flat);
  const point = { width: 9, height: 9, data: new Uint8ClampedArray(9 * 9 * 4) };
  for (let p = 0; p < 81; p++) point.data.set([p === 40 ? 255 : 0, 0, 0, 255], p * 4);
  const { data } = blurPicture(point, 1);
  const at = (x: number, y: number) => data[(y * 9 + x) * 4];
  assert.equal(at(4, 4), 41);
  assert.deepEqual([at(3, 4), at(5, 4), at(4, 5)], [at(4, 3), at(4, 3), at(4, 3)]);
  assert.deepEqual(blurPicture(point, 0), point);
});

test("a part that was cut out and pasted back is the picture again; a mask lets through a share", () => {
  const from = picture(goldens);
  const box = { x: 3, y: 2, width: 6, height: 5 };
  const part = crop(from, box);
  assert.deepEqual(part.data.subarray(0, 4), from.data.subarray((2 * 13 + 3) * 4, (2 * 13 + 4) * 4));
  assert.deepEqual(paste(from, part, box), from);
  const black = { ...part, data: new Uint8ClampedArray(part.data.length) };
  const mask = { ...part, data: new Uint8ClampedArray(part.data.length).fill(0) };
  assert.deepEqual(paste(from, black, { ...box, mask }), from);
  mask.data.fill(255);
  assert.deepEqual(crop(paste(from, black, { ...box, mask }), box), black);
});
