import assert from "node:assert/strict";
import { test } from "node:test";
import { psnr } from "../../src/image/metrics.ts";
import { decodePng, encodePng } from "../../src/image/png.ts";
import { decodeBase64Image, decodeImage } from "../../src/server/images/decode.ts";
import { encodePreview, firstPreview } from "../../src/server/images/preview.ts";
import { encodeImage, IMAGE_FORMATS } from "../../src/server/images/encode.ts";

/** A smooth picture, with a transparent corner if asked for. */
function picture(width = 48, height = 32, transparent = false) {
  const data = new Uint8ClampedArray(width * height * 4);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const alpha = transparent && x < 8 && y < 8 ? 0 : 255;
      data.set([x * 5, y * 7, 128 + 60 * Math.sin(x / 9), alpha], (y * width + x) * 4);
    }
  }
  return { width, height, data };
}

const LIMITS = { maxPixels: 100_000 };
const TEXT = { parameters: "ein süßer Apfel 🍎, 苹果\nSteps: 4, Seed: 1" };

for (const format of IMAGE_FORMATS) {
  test(`${format}: there and back, with the generation parameters`, async () => {
    const image = picture();
    const bytes = await encodeImage(image, { format, quality: 95, text: TEXT });
    const back = await decodeImage(bytes, LIMITS);
    assert.deepEqual([back.width, back.height], [48, 32]);
    assert.equal(back.parameters, TEXT.parameters);
    const likeness = psnr(image, back);
    assert(format === "png" ? likeness === Infinity : likeness > 38, `${likeness} dB`);
    assert.equal((await decodeImage(await encodeImage(image, { format }), LIMITS)).parameters, undefined);
    const coarse = await encodeImage(image, { format, quality: 10, text: TEXT });
    assert(format === "png" ? coarse.length === bytes.length : coarse.length < bytes.length);
  });

  test(`${format}: what is too large is refused by its header; what is cut or changed, by an error`, async () => {
    const bytes = await encodeImage(picture(), { format, text: TEXT });
    await assert.rejects(decodeImage(bytes, { maxPixels: 48 * 32 - 1 }), RangeError);
    await decodeImage(bytes, { maxPixels: 48 * 32 });
    for (const length of [0, 1, 7, 11, 20, 30, 44, bytes.length >> 1]) {
      const outcome = await decodeImage(bytes.slice(0, length), LIMITS).then((p) => p.width, (e) => e);
      // A JPEG that ends early still is a picture, its rest grey.
      if (typeof outcome === "number") assert(format === "jpeg" && outcome === 48);
      else assert(outcome instanceof TypeError, `${length}: ${outcome}`);
    }
    // Whatever came of the damaged ones, the next whole one is read.
    assert.equal((await decodeImage(bytes, LIMITS)).width, 48);
  });
}

test("transparency survives PNG and WebP", async () => {
  for (const format of ["png", "webp"] as const) {
    const back = await decodeImage(await encodeImage(picture(48, 32, true), { format, text: TEXT }), LIMITS);
    assert.deepEqual([back.data[3], back.data[9 * 4 + 3]], [0, 255], format);
  }
});

test("a small file that claims to be huge is refused before it is unpacked", async () => {
  const png = encodePng(picture());
  new DataView(png.buffer).setUint32(16, 60_000);
  new DataView(png.buffer).setUint32(20, 60_000);
  await assert.rejects(decodeImage(png, LIMITS));
  const jpeg = await encodeImage(picture(), { format: "jpeg" });
  const sof = jpeg.findIndex((b, i) => b === 0xff && (jpeg[i + 1] & 0xf0) === 0xc0 && jpeg[i + 1] !== 0xc4);
  jpeg.set([0xff, 0xff, 0xff, 0xff], sof + 5);
  await assert.rejects(decodeImage(jpeg, LIMITS), /^RangeError: Cannot read a picture of 65535×65535/);
  const webp = await encodeImage(picture(), { format: "webp", text: TEXT });
  webp.fill(0xff, 24, 30); // the canvas of VP8X
  await assert.rejects(decodeImage(webp, LIMITS), /^RangeError: Cannot read a picture of 16777216×16777216/);
});

test("previews are written small, and a step's only once", () => {
  const large = { ...picture(300, 200), text: {}, png: () => encodePng(picture()) };
  const size = (text: string) => {
    const { width, height } = decodePng(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));
    return [width, height];
  };
  assert.deepEqual(size(encodePreview(large, 128)), [100, 66]);
  assert.deepEqual(size(encodePreview(large, 300)), [300, 200]);
  let calls = 0;
  const preview = () => (calls++, [large]);
  const step = { index: 1, total: 2, timestep: 0, seconds: 1, preview };
  assert.equal(firstPreview(step, 128), firstPreview(step, 128));
  assert.equal(calls, 1);
  assert.equal(firstPreview({ ...step, preview: () => [] }, 128), undefined);
});

test("base64, bare and as a data URL; what is neither, nor a picture, is told", async () => {
  const base64 = btoa(String.fromCharCode(...encodePng(picture())));
  assert.equal((await decodeBase64Image(base64, LIMITS)).width, 48);
  assert.equal((await decodeBase64Image(`data:image/png;base64,${base64}`, LIMITS)).width, 48);
  await assert.rejects(decodeBase64Image("no base64!", LIMITS), /expected base64/);
  await assert.rejects(decodeBase64Image(btoa("GIF89a"), LIMITS), /expected a PNG, JPEG or WebP file/);
  await assert.rejects(decodeBase64Image("", LIMITS), TypeError);
});
