import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { decodePng, encodePng } from "../../src/image/png.ts";
import { base64 } from "../../src/server/images/base64.ts";
import { finishInpainting, startInpainting } from "../../src/server/images/inpaint.ts";
import { assertEffects, draw, type Json, type Row } from "./a1111.ts";
import { bytesOf, startApp, type Started } from "./app.ts";

let server: Started;
before(async () => {
  server = await startApp();
});
after(() => server.service.close());

/** A picture by the colour of each pixel. */
function paint(width: number, height: number, colour: (x: number, y: number) => number[]) {
  const data = new Uint8ClampedArray(width * height * 4);
  for (let p = 0; p < width * height; p++) {
    data.set([...colour(p % width, Math.floor(p / width)), 255], p * 4);
  }
  return { width, height, data };
}
const RED = [200, 0, 0], GREEN = [0, 200, 0], WHITE = [255, 255, 255], BLACK = [0, 0, 0];
const red = paint(32, 32, (x) => x < 16 ? RED : [160, 40, 0]);
const file = (picture: ReturnType<typeof paint>) => base64(encodePng(picture));
const image = file(red);
/** White in a square on the left. */
const square = paint(32, 32, (x, y) => x >= 4 && x < 12 && y >= 12 && y < 20 ? WHITE : BLACK);
const mask = file(square);

const BODY = { prompt: "a red apple", seed: 3, steps: 3, width: 32, height: 32, init_images: [image] };
const img2img = (body: Json = {}) => draw(server, "img2img", { ...BODY, ...body });
const pixels = (text: string) => decodePng(bytesOf(text));

test("every field of img2img changes the pictures or what is told, or is listed as ignored", async () => {
  const rows: Row[] = [
    ["prompt", { prompt: "a lemon" }, "pixels"],
    ["seed", { seed: 4 }, "pixels"],
    ["sampler_name", { sampler_name: "DDIM" }, "pixels"],
    ["init_images", { init_images: [mask] }, "pixels"],
    ["init_images", { init_images: [image, mask] }, ({ images, info }, base) => {
      assert.deepEqual([images.length, images[0], info.all_seeds], [2, base.images[0], [3, 4]]);
    }],
    ["batch_size", { init_images: [image, mask], batch_size: 3 }, ({ info }) => {
      assert.deepEqual([info.batch_size, info.ignored], [2, ["batch_size"]]);
    }],
    ["batch_size", { batch_size: 2 }, ({ images, info }, base) => {
      assert.deepEqual([images[0], info.all_seeds], [base.images[0], [3, 4]]);
    }],
    ["n_iter", { n_iter: 2 }, ({ images, info }, base) => {
      assert.deepEqual([images[0], info.all_seeds], [base.images[0], [3, 4]]);
    }],
    ["width", { width: 48 }, "pixels"],
    ["height", { height: 48 }, "pixels"],
    ["denoising_strength", { denoising_strength: 0.4 }, "pixels"],
    ["denoising_strength", { denoising_strength: 0.1 }, ({ info }) => {
      assert.match(
        info.warnings[0],
        /denoising strength 0.1 of 3 steps is less than one: one step was drawn/,
      );
      assert.match(info.infotexts[0], /Denoising strength: 0\.33/);
    }],
    ["include_init_images", { include_init_images: true }, ({ parameters }, base) => {
      assert.deepEqual([parameters.init_images, base.parameters.init_images], [[image], null]);
    }],
    ["mask_blur", { mask_blur: 2 }, "ignored"],
    ["resize_mode", { resize_mode: 1 }, "ignored"],
    ["mask", { mask }, "pixels"],
    ["token_merging_ratio", { override_settings: { token_merging_ratio: 0.5 } }, "pixels"],
    ["token_merging_ratio_img2img", { override_settings: { token_merging_ratio_img2img: 0.3 } }, "pixels"],
  ];
  await assertEffects(img2img, {}, rows);
  const both = await img2img({
    override_settings: { token_merging_ratio: 0.5, token_merging_ratio_img2img: 0.3 },
  });
  assert.deepEqual(both.info.extra_generation_params, { "Token merging ratio": 0.3 });
});

test("inpainting: every field changes the pictures or is listed as ignored", async () => {
  const rows: Row[] = [
    ["mask_blur", { mask_blur: 1 }, "pixels"],
    ["inpainting_fill", { inpainting_fill: 1 }, "pixels"],
    ["inpaint_full_res", { inpaint_full_res: false }, "pixels"],
    ["inpaint_full_res_padding", { inpaint_full_res_padding: 2 }, "pixels"],
    ["inpainting_mask_invert", { inpainting_mask_invert: 1 }, "pixels"],
    ["denoising_strength", { denoising_strength: 1 }, "pixels"],
    ["inpainting_fill", { inpainting_fill: 2 }, ({ info }) => {
      assert.deepEqual(info.ignored, ["inpainting_fill"]);
    }],
    ["inpaint_full_res_padding", { inpaint_full_res: false, inpaint_full_res_padding: 8 }, ({ info }) => {
      assert.deepEqual(info.ignored, ["inpaint_full_res_padding"]);
    }],
    ["latent_mask", { latent_mask: mask }, "ignored"],
  ];
  await assertEffects(img2img, { mask, mask_blur: 2 }, rows);
});

test("white is drawn anew, and what is black keeps the pixels of the original", async () => {
  for (const inpaint_full_res of [true, false]) {
    const drawn = await img2img({ mask, mask_blur: 0, inpaint_full_res, denoising_strength: 1 });
    const { data } = pixels(drawn.images[0]);
    let changed = 0;
    for (let p = 0; p < 32 * 32; p++) {
      const same = [0, 1, 2].every((k) => data[p * 4 + k] === red.data[p * 4 + k]);
      if (square.data[p * 4] === 0) assert(same, `pixel ${p % 32}, ${p >> 5}`);
      else changed += same ? 0 : 1;
    }
    assert(changed > 32, `${changed} of 64 pixels changed`);
    const inverted = await img2img({ mask, mask_blur: 0, inpaint_full_res, inpainting_mask_invert: 1 });
    const at = (16 * 32 + 8) * 4;
    assert.deepEqual([...pixels(inverted.images[0]).data.subarray(at, at + 3)], RED);
  }
});

test("the area of an inpainting at full resolution, and the colours that fill a hole", () => {
  const options = {
    width: 64,
    height: 64,
    mask_blur: 0,
    inpainting_fill: 1,
    inpaint_full_res: true,
    inpaint_full_res_padding: 2,
    inpainting_mask_invert: 0,
  };
  const { image: part, ...rest } = startInpainting(red, square, options);
  assert.deepEqual([part.width, part.height], [12, 12]);
  const done = finishInpainting(paint(64, 64, () => GREEN), rest);
  assert.deepEqual([done.width, done.height], [32, 32]);
  assert.deepEqual([...done.data.subarray((16 * 32 + 8) * 4, (16 * 32 + 8) * 4 + 3)], GREEN);
  assert.deepEqual([...done.data.subarray(0, 3)], RED);
  // An area that is wider than it is high, at the edge, keeps the aspect and stays inside.
  const wide = paint(64, 32, (x, y) => x > 56 && y < 4 ? WHITE : BLACK);
  const other = startInpainting(paint(64, 32, () => RED), wide, {
    ...options,
    width: 128,
    inpaint_full_res_padding: 0,
  });
  assert.deepEqual([other.image.width, other.image.height], [8, 4]);
  // Where nothing is masked, the whole picture is taken.
  const none = startInpainting(red, paint(32, 32, () => BLACK), options);
  assert.deepEqual([none.image.width, none.image.height], [64, 64]);

  const hole = paint(64, 64, (x, y) => Math.hypot(x - 32, y - 32) < 10 ? GREEN : RED);
  const round = paint(64, 64, (x, y) => Math.hypot(x - 32, y - 32) < 12 ? WHITE : BLACK);
  const filled = startInpainting(hole, round, { ...options, inpainting_fill: 0, inpaint_full_res: false });
  const centre = (32 * 64 + 32) * 4;
  const [r, g] = filled.image.data.subarray(centre, centre + 2);
  assert(r > 180 && g < 20, `${r}, ${g}`);
});

test("a wide blur of a large mask is nearly that of a small one, and does not take seconds", () => {
  const big = paint(1024, 1024, (x) => x < 512 ? WHITE : BLACK);
  const options = {
    width: 1024,
    height: 1024,
    mask_blur: 64,
    inpainting_fill: 1,
    inpaint_full_res: false,
    inpaint_full_res_padding: 0,
    inpainting_mask_invert: 0,
  };
  const { mask } = startInpainting(big, big, options);
  // The integral of a Gaussian, 0, 1 and 2 standard deviations from the edge.
  for (const [x, share] of [[512, 0.5], [576, 0.1587], [640, 0.0228], [448, 0.8413]]) {
    const found = mask.data[(300 * 1024 + x) * 4] / 255;
    assert(Math.abs(found - share) < 0.02, `at ${x}: ${found} for ${share}`);
  }
});
