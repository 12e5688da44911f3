import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { decodePng } from "../../src/image/png.ts";
import { Txt2ImgSchema } from "../../src/server/a1111/schema.ts";
import { decodeImage } from "../../src/server/images/decode.ts";
import { assertEffects, draw, type Json, type Row } from "./a1111.ts";
import { bytesOf, startApp, type Started } from "./app.ts";

let server: Started;
before(async () => {
  server = await startApp();
});
after(() => server.service.close());

const BODY = { prompt: "a red apple", seed: 3, steps: 2, width: 32, height: 32 };
const txt2img = (body: Json = {}) => draw(server, "txt2img", { ...BODY, ...body });
const sizeOf = (image: string) => {
  const { width, height } = decodePng(bytesOf(image));
  return [width, height];
};

test("every field of txt2img changes the pictures or what is told of them, or is listed as ignored", async () => {
  const rows: Row[] = [
    ["prompt", { prompt: "a lemon" }, "pixels"],
    ["negative_prompt", { negative_prompt: "red" }, "pixels"],
    ["styles", { styles: ["photo"] }, "ignored"],
    ["seed", { seed: 4 }, "pixels"],
    ["subseed", { subseed: 5 }, "ignored"],
    ["subseed_strength", { subseed_strength: 0.5 }, "ignored"],
    ["sampler_name", { sampler_name: "DDIM" }, "pixels"],
    ["sampler_index", { sampler_index: "PLMS" }, "pixels"],
    ["sampler_index", { sampler_name: "Euler", sampler_index: "DDIM" }, "ignored"],
    ["sampler_name", { sampler_name: "", sampler_index: "Euler a" }, "pixels"],
    ["scheduler", { sampler_name: "DPM++ 2M", steps: 4 }, "pixels"],
    ["scheduler", { sampler_name: "DPM++ 2M", scheduler: "Uniform", steps: 4 }, "pixels"],
    ["scheduler", { scheduler: "Karras" }, "ignored"],
    ["scheduler", { scheduler: "Automatic" }, ({ images, info }, base) => {
      assert.deepEqual([images, info.ignored], [base.images, []]);
    }],
    ["batch_size", { batch_size: 2 }, ({ images, info }, base) => {
      assert.deepEqual([images.length, images[0], info.batch_size], [2, base.images[0], 2]);
      assert.deepEqual(info.all_seeds, [3, 4]);
    }],
    ["n_iter", { n_iter: 2 }, ({ images, info }, base) => {
      assert.deepEqual([images.length, images[0], info.all_seeds], [2, base.images[0], [3, 4]]);
    }],
    ["n_iter", { n_iter: 2, batch_size: 2, steps: 1 }, ({ info }) => {
      assert.deepEqual(info.all_seeds, [3, 4, 5, 6]);
    }],
    ["steps", { steps: 3 }, "pixels"],
    ["cfg_scale", { cfg_scale: 2 }, "pixels"],
    ["width", { width: 48 }, "pixels"],
    ["height", { height: 48 }, "pixels"],
    ["width", { width: 512, height: 256, steps: 1 }, ({ images, info }) => {
      assert.deepEqual([sizeOf(images[0]), info.drawn], [[512, 256], "136x68"]);
      assert.match(info.infotexts[0], /Size: 136x68.*Scaled to: 512x256 \(Lanczos\)/);
    }],
    ["upscale", { width: 200, height: 200, upscale: false, steps: 1 }, ({ images, info }) => {
      assert.deepEqual([sizeOf(images[0]), info.drawn], [[200, 200], "200x200"]);
    }],
    ["eta", { eta: 1 }, "ignored"],
    ["s_churn", { s_churn: 1 }, "ignored"],
    ["s_tmin", { s_tmin: 1 }, "ignored"],
    ["s_tmax", { s_tmax: 1 }, "ignored"],
    ["s_noise", { s_noise: 2 }, "ignored"],
    ["tiling", { tiling: true }, "ignored"],
    ["restore_faces", { restore_faces: true }, "ignored"],
    ["save_images", { save_images: true }, "ignored"],
    ["alwayson_scripts", { alwayson_scripts: { ControlNet: { args: [] } } }, "ignored"],
    ["script_name", { script_name: "x/y/z plot" }, "ignored"],
    ["script_args", { script_args: [1] }, "ignored"],
    ["force_task_id", { force_task_id: "mine" }, "ignored"],
    ["denoising_strength", { denoising_strength: 0.5 }, "ignored"],
    ["hr_scale", { hr_scale: 1.5 }, "ignored"],
    ["never heard of", { "never heard of": 1 }, "ignored"],
    ["send_images", { send_images: false }, ({ images, info }) => {
      assert.deepEqual([images, info.all_seeds], [[], [3]]);
    }],
    ["override_settings", { override_settings: { token_merging_ratio: 0.5 } }, "pixels"],
    ["override_settings", { override_settings: { randn_source: "CPU" } }, "pixels"],
    ["eta_noise", { override_settings: { eta_noise: 1, CLIP_stop_at_last_layers: 1 } }, ({ info }) => {
      assert.deepEqual(info.ignored, ["eta_noise"]);
    }],
    ["nothing", { subseed: -1, eta: 0, styles: [], tiling: null, alwayson_scripts: {} }, (changed, base) => {
      assert.deepEqual([changed.images, changed.info.ignored], [base.images, []]);
    }],
  ];
  await assertEffects(txt2img, {}, rows);
  const shown = new Set(rows.map(([field]) => field));
  // Those of hires, of infotexts and of what outlasts a request have tests below.
  const below = /^(enable_hr|hr_.+|infotext|override_settings_restore_afterwards)$/;
  for (const field of Object.keys(Txt2ImgSchema.shape)) {
    assert(shown.has(field) || below.test(field), `no row shows what ${field} does`);
  }
});

test("the answer has pictures, the parameters and info as text; a seed of -1 is drawn and told", async () => {
  const { images, parameters, info } = await txt2img({ negative_prompt: "red", cfg_scale: 5 });
  assert.deepEqual(sizeOf(images[0]), [32, 32]);
  assert.deepEqual([parameters.prompt, parameters.steps, parameters.cfg_scale], ["a red apple", 2, 5]);
  const { prompt, seed, width, sampler_name, sd_model_name, infotexts } = info;
  assert.deepEqual([prompt, seed, width, sampler_name, sd_model_name], [
    "a red apple",
    3,
    32,
    "Euler",
    "emoji",
  ]);
  assert.equal(decodePng(bytesOf(images[0])).text.parameters, infotexts[0]);
  assert.match(
    infotexts[0],
    /^a red apple\nNegative prompt: red\nSteps: 2, Sampler: Euler, CFG scale: 5, Seed: 3/,
  );
  const [first, second] = [await txt2img({ seed: -1 }), await txt2img({ seed: null })];
  assert.notEqual(first.info.seed, second.info.seed);
  const again = await txt2img({ seed: first.info.seed });
  assert.deepEqual(again.images, first.images);
});

test("an infotext fills in what the body leaves out, and draws the same picture again", async () => {
  for (
    const body of [
      { negative_prompt: "red", cfg_scale: 3, sampler_name: "DPM++ 2M Karras", width: 48 },
      { override_settings: { token_merging_ratio: 0.5, randn_source: "CPU" } },
      { enable_hr: true, hr_scale: 1.5, hr_second_pass_steps: 1, denoising_strength: 0.6 },
      { enable_hr: true, hr_resize_x: 48, override_settings: { token_merging_ratio_hr: 0.3 } },
      { width: 200, height: 200, steps: 1 },
    ]
  ) {
    const first = await txt2img(body);
    const again = await draw(server, "txt2img", { infotext: first.info.infotexts[0] });
    assert.deepEqual(again.images, first.images, first.info.infotexts[0]);
    const other = await draw(server, "txt2img", { infotext: first.info.infotexts[0], seed: 8 });
    assert.deepEqual([other.info.seed, other.info.steps], [8, first.info.steps]);
    assert.notDeepEqual(other.images, first.images);
  }
});

test("hires: every field changes the pictures or is listed as ignored", async () => {
  const size = (width: number, height: number): Row[2] => ({ images }) =>
    assert.deepEqual(sizeOf(images[0]), [width, height]);
  const rows: Row[] = [
    ["enable_hr", { enable_hr: false }, "pixels"],
    ["hr_scale", { hr_scale: 2 }, size(64, 64)],
    ["hr_second_pass_steps", { hr_second_pass_steps: 3 }, "pixels"],
    ["hr_resize_x", { hr_resize_x: 64, hr_resize_y: 48 }, size(64, 48)],
    ["hr_resize_y", { hr_resize_y: 56 }, size(56, 56)],
    ["denoising_strength", { denoising_strength: 0.4 }, "pixels"],
    ["denoising_strength", { denoising_strength: 0 }, "pixels"],
    ["hr_upscaler", { hr_upscaler: "Latent" }, "ignored"],
    ["hr_upscaler", { hr_upscaler: "Lanczos" }, ({ images, info }, base) => {
      assert.deepEqual([images, info.ignored], [base.images, []]);
    }],
    ["hr_prompt", { hr_prompt: "a lemon" }, "ignored"],
    ["token_merging_ratio_hr", { override_settings: { token_merging_ratio_hr: 0.5 } }, "pixels"],
    ["token_merging_ratio", { override_settings: { token_merging_ratio: 0.5 } }, "pixels"],
  ];
  await assertEffects(txt2img, { enable_hr: true, hr_scale: 1.5 }, rows);
  // The second pass takes as many steps as it is asked for, whatever the strength.
  const job = () => server.service.queue.jobs.at(-1)!.result!.stats.map(({ networkCalls }) => networkCalls);
  for (const denoising_strength of [0.3, 0.7]) {
    await txt2img({ enable_hr: true, hr_scale: 1.5, hr_second_pass_steps: 3, denoising_strength });
    assert.deepEqual(job(), [2, 3]);
  }
  const { info } = await txt2img({ enable_hr: true, hr_scale: 1.5, n_iter: 2, batch_size: 2, steps: 1 });
  assert.deepEqual(info.all_seeds, [3, 4, 5, 6]);
});

test("token merging: clamped and told, inherited, in info and in the picture's text, from options too", async () => {
  const merged = (ratio: number) => txt2img({ override_settings: { token_merging_ratio: ratio } });
  const [half, most, beyond] = [await merged(0.5), await merged(0.75), await merged(0.9)];
  assert.deepEqual(beyond.images, most.images);
  assert.deepEqual(beyond.info.warnings, [
    "token merging ratio 0.9 is more than can be reached: 0.75 was used",
  ]);
  assert.deepEqual(half.info.warnings, []);
  assert.deepEqual(half.info.extra_generation_params, { "Token merging ratio": 0.5 });
  assert.match(half.info.infotexts[0], /Token merging ratio: 0.5, Token merging random: False/);
  const [{ tokens, ceiling }] = half.info.token_merging;
  assert.deepEqual([tokens[0].before, tokens[0].after], [64, 32]);
  assert(ceiling > 1);
  // As tomesd with use_rand=False.
  const own = await server.post("/generate", {
    ...BODY,
    sampler: "euler",
    guidance_scale: 7,
    noise: "philox",
    token_merging: { ratio: 0.5, use_rand: false },
  });
  assert.deepEqual(
    decodePng(new Uint8Array(await own.arrayBuffer())).data,
    decodePng(bytesOf(half.images[0])).data,
  );

  const plain = await txt2img();
  const restore = { token_merging_ratio: 0 };
  await server.post("/sdapi/v1/options", { token_merging_ratio: 0.5 });
  assert.deepEqual((await txt2img()).images, half.images);
  assert.deepEqual((await txt2img({ override_settings: restore })).images, plain.images);
  assert.deepEqual((await txt2img()).images, half.images, "an override holds for its request alone");
  await txt2img({ override_settings: restore, override_settings_restore_afterwards: false });
  assert.deepEqual((await txt2img()).images, plain.images, "unless it is not to be restored");
});

test("samples_format: png, jpeg and webp with the parameters inside", async () => {
  for (const [samples_format, first] of [["png", 0x89], ["jpg", 0xff], ["webp", 0x52]] as const) {
    const { images } = await txt2img({ override_settings: { samples_format, jpeg_quality: 95 } });
    const bytes = bytesOf(images[0]);
    assert.equal(bytes[0], first);
    assert.match((await decodeImage(bytes, { maxPixels: 1e6 })).parameters!, /Seed: 3/);
    const coarse = await txt2img({ override_settings: { samples_format, jpeg_quality: 10 } });
    assert.equal(coarse.images[0].length < images[0].length, samples_format !== "png");
  }
});
