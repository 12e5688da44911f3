/**
 * AUTOMATIC1111's API: what its clients call to draw, to watch, to stop and to choose.
 *
 * @module
 */
import { Hono } from "hono";
import { parseParameters } from "../../image/parameters.ts";
import { encodePng } from "../../image/png.ts";
import type { GenerateOptions } from "../../pipeline/options.ts";
import { samplerNames } from "../../samplers/sampler.ts";
import { VERSION } from "../../version.ts";
import type { AppEnv } from "../env.ts";
import type { Drawing } from "../drawing.ts";
import { HttpError } from "../errors.ts";
import { untilDone } from "../follow.ts";
import { base64 } from "../images/base64.ts";
import { decodeBase64Image } from "../images/decode.ts";
import type { Service } from "../service.ts";
import { readJson } from "../validate.ts";
import { inpainting } from "./inpaint.ts";
import { controls, drawRounds, type Round } from "./job.ts";
import { ignoredFields, type Img2Img, Img2ImgSchema, type Txt2Img, Txt2ImgSchema } from "./schema.ts";
import { changeSettings, defaultSettings, findModel, mergingOf, noiseOf, samplerOf } from "./settings.ts";

const NAMES = {
  n: "batch_size",
  negativePrompt: "negative_prompt",
  guidanceScale: "cfg_scale",
  strength: "denoising_strength",
} as const;

/** As AUTOMATIC1111 names our samplers. */
const SAMPLERS: Record<string, { name: string; aliases: string[] }> = {
  "ddim": { name: "DDIM", aliases: ["ddim"] },
  "pndm": { name: "PLMS", aliases: ["plms", "pndm"] },
  "euler": { name: "Euler", aliases: ["k_euler"] },
  "euler_a": { name: "Euler a", aliases: ["k_euler_a", "k_euler_ancestral"] },
  "dpm++_2m": { name: "DPM++ 2M", aliases: ["k_dpmpp_2m"] },
  "dpm++_2m_karras": { name: "DPM++ 2M Karras", aliases: ["k_dpmpp_2m_karras"] },
  "lcm": { name: "LCM", aliases: ["lcm"] },
};

const SCHEDULERS = [["automatic", "Automatic"], ["uniform", "Uniform"], ["karras", "Karras"]];

type Body = Txt2Img & Partial<Img2Img>;

export function a1111(service: Service): Hono<AppEnv> {
  const app = new Hono<AppEnv>();
  const { models, queue } = service;
  let settings = defaultSettings(models);

  /** Draws what a body asks for, and writes it up. */
  async function answer(
    body: Body,
    { ignored, signal, rounds, seed, sampler, warnings, override }: {
      ignored: string[];
      signal: AbortSignal;
      rounds: Round[];
      seed: number;
      sampler: string;
      warnings: string[];
      override: typeof settings;
    },
  ) {
    const images = body.batch_size * body.n_iter;
    const model = findModel(models, override.sd_model_checkpoint);
    const job = service.submit({
      dialect: "a1111",
      images,
      request: { ...body, init_images: undefined, mask: undefined },
      work: (job) => drawRounds(job, rounds, { service, model, upscale: body.upscale }),
    });
    const drawing = await untilDone(job, signal);
    drawing.warnings.push(...warnings);
    const merging = rounds[0].hires?.tokenMerging ?? rounds[0].options.tokenMerging;
    const info = {
      ...about(drawing, body, { seed, sampler }),
      sd_model_name: model.id,
      sd_model_hash: null,
      extra_generation_params: merging ? { "Token merging ratio": merging.ratio } : {},
      job_timestamp: timestamp(job.createdAt),
      token_merging: drawing.stats.map(({ tokens, ceiling }) => ({ tokens, ceiling })),
      ignored,
      warnings: drawing.warnings,
    };
    const { init_images, mask, ...parameters } = body;
    return {
      images: body.send_images ? drawing.pictures.map((p) => base64(encodePng(p, { text: p.text }))) : [],
      parameters: {
        ...parameters,
        ...init_images && { init_images: body.include_init_images ? init_images : null },
        ...init_images && { mask: body.include_init_images ? mask : null },
      },
      info: JSON.stringify(info),
    };
  }

  /** What both kinds of request have in common. */
  function prepare(body: Body, kind: "txt2img" | "img2img") {
    const { settings: override, ignored } = changeSettings(settings, body.override_settings, models);
    if (!body.override_settings_restore_afterwards) settings = override;
    const name = body.sampler_name ?? body.sampler_index ?? "Euler";
    const { sampler, warnings } = samplerOf(name, body.scheduler);
    const merging = mergingOf(override, kind);
    const seed = body.seed === -1 ? crypto.getRandomValues(new Uint32Array(1))[0] : body.seed;
    const options: Round["options"] = {
      prompt: body.prompt,
      negativePrompt: body.negative_prompt,
      width: body.width,
      height: body.height,
      steps: body.steps,
      guidanceScale: body.cfg_scale,
      sampler,
      noise: noiseOf(override),
      tokenMerging: merging.tokenMerging,
    };
    service.checkLimits({ ...options, n: body.batch_size * body.n_iter }, NAMES);
    return { override, ignored, seed, sampler, options, warnings: [...warnings, ...merging.warnings] };
  }

  app.post("/txt2img", async (c) => {
    const raw = await readJson(c.req.raw, Txt2ImgSchema, 422);
    const body = { ...raw, ...fromInfotext(raw) };
    const { override, ignored, options, ...rest } = prepare(body, "txt2img");
    ignored.push(...ignoredFields(body, Txt2ImgSchema));
    let hires: Round["hires"];
    if (body.enable_hr) {
      const { hr_resize_x: x, hr_resize_y: y, hr_scale } = body;
      const scale = Math.max(x / body.width, y / body.height) || hr_scale;
      const merging = mergingOf(override, "hr");
      rest.warnings.push(...merging.warnings.filter((w) => !rest.warnings.includes(w)));
      hires = {
        width: x || Math.round(body.width * scale),
        height: y || Math.round(body.height * scale),
        steps: body.hr_second_pass_steps || undefined,
        strength: body.denoising_strength ?? 0.75,
        tokenMerging: merging.tokenMerging,
      };
      service.checkLimits({ ...options, ...hires, steps: hires.steps ?? options.steps }, NAMES);
      if (body.hr_upscaler && !/lanczos/i.test(body.hr_upscaler)) ignored.push("hr_upscaler");
    } else ignored.push(...["denoising_strength"].filter((name) => body[name] !== undefined));
    const rounds = Array.from({ length: body.n_iter }, (_, i): Round => ({
      options: { ...options, n: body.batch_size, seed: rest.seed + i * body.batch_size },
      hires,
    }));
    return c.json(await answer(body, { ...rest, override, ignored, rounds, signal: c.req.raw.signal }));
  });

  app.post("/img2img", async (c) => {
    const raw = await readJson(c.req.raw, Img2ImgSchema, 422);
    const body = { ...raw, ...fromInfotext(raw) };
    const { override, ignored, options, ...rest } = prepare(body as unknown as Body, "img2img");
    ignored.push(...ignoredFields(body, Img2ImgSchema));
    if (body.inpainting_fill > 1 && body.mask) ignored.push("inpainting_fill");
    const read = async (text: string, param: string) => {
      try {
        return await decodeBase64Image(text, { maxPixels: 4 * service.options.maxPixels });
      } catch (cause) {
        throw new HttpError(422, (cause as Error).message, { code: "Invalid encoded image", param, cause });
      }
    };
    const initial = await Promise.all(body.init_images.map((text) => read(text, "init_images")));
    const mask = body.mask === undefined ? undefined : await read(body.mask, "mask");
    const strength = body.denoising_strength ?? 0.75;
    if (strength === 0) ignored.push("denoising_strength"); // nothing would be drawn: the least there is
    const rounds = Array.from({ length: body.n_iter }, (_, i): Round => {
      const picture = initial[i % initial.length];
      const seeded: GenerateOptions = {
        ...options,
        n: body.batch_size,
        seed: rest.seed + i * body.batch_size,
        strength: strength || 1 / body.steps,
      };
      if (!mask) return { options: { ...seeded, image: picture } };
      const { image, mask: part, finish } = inpainting(picture, mask, body);
      return { options: { ...seeded, image, mask: part }, finish };
    });
    const full = body as unknown as Body;
    return c.json(await answer(full, { ...rest, override, ignored, rounds, signal: c.req.raw.signal }));
  });

  app.get("/progress", (c) => {
    const job = queue.running;
    const control = job && controls.get(job);
    const skipImage = c.req.query("skip_current_image");
    const hidden = skipImage !== undefined && skipImage !== "false" && skipImage !== "0";
    const preview = job && !hidden ? job.step?.preview()[0] : undefined;
    return c.json({
      progress: job?.progress ?? 0,
      eta_relative: job?.secondsLeft ?? 0,
      state: {
        skipped: control?.skipped ?? false,
        interrupted: control?.interrupted ?? false,
        stopping_generation: job?.signal.aborted ?? false,
        job: job ? `task(${job.id})` : "",
        job_count: queue.waiting.length + (job ? 1 : 0),
        job_timestamp: timestamp(job?.createdAt ?? 0),
        job_no: 0,
        sampling_step: job?.step?.index ?? 0,
        sampling_steps: job?.step?.total ?? 0,
      },
      current_image: preview ? base64(encodePng(preview)) : null,
      textinfo: job && !job.step ? "loading" : null,
    });
  });

  app.post("/interrupt", (c) => {
    const job = queue.running;
    const control = job && controls.get(job);
    if (control) {
      control.interrupted = true;
      control.stop();
    } else job?.cancel("interrupted");
    return c.json({});
  });

  app.post("/skip", (c) => {
    const control = queue.running && controls.get(queue.running);
    if (control) {
      control.skipped = true;
      control.stop();
    }
    return c.json({});
  });

  app.get("/options", (c) => c.json(settings));
  app.post("/options", async (c) => {
    const changes = await readJson(c.req.raw, Txt2ImgSchema.shape.override_settings, 422);
    const changed = changeSettings(settings, changes, models);
    settings = changed.settings;
    models.current = findModel(models, settings.sd_model_checkpoint);
    if (changed.ignored.length) c.header("tome-edge-ignored", changed.ignored.join(", "));
    return c.json(null);
  });

  app.get("/sd-models", (c) =>
    c.json(models.entries.map(({ id }) => ({
      title: id,
      model_name: id,
      hash: null,
      sha256: null,
      filename: id,
      config: null,
    }))));
  app.get("/samplers", (c) => c.json(samplerNames.map((name) => ({ ...SAMPLERS[name], options: {} }))));
  app.get("/schedulers", (c) =>
    c.json(SCHEDULERS.map(([name, label]) => ({
      name,
      label,
      aliases: null,
      default_rho: -1,
      need_inner_model: false,
    }))));
  app.get(
    "/upscalers",
    (c) => c.json([{ name: "Lanczos", model_name: null, model_path: null, model_url: null, scale: 4 }]),
  );
  app.post("/refresh-checkpoints", (c) => c.json(null));
  return app;
}

/** What an infotext says, for the fields that the body leaves out. */
function fromInfotext(body: Pick<Txt2Img, "infotext"> & Record<string, unknown>): Record<string, unknown> {
  if (body.infotext === undefined) return {};
  const { prompt, negativePrompt, seed, steps, sampler, guidanceScale, width, height, strength } =
    parseParameters(
      body.infotext,
    );
  const said = {
    negative_prompt: negativePrompt || undefined,
    prompt: prompt || undefined,
    seed,
    steps,
    sampler_name: sampler,
    cfg_scale: guidanceScale,
    width,
    height,
    denoising_strength: strength,
  };
  return Object.fromEntries(Object.entries(said).filter(([, value]) => value !== undefined));
}

/** The part of `info` that tells of the pictures. */
function about(
  { pictures }: Drawing,
  body: Body,
  { seed, sampler }: { seed: number; sampler: string },
) {
  const all = <T>(value: T) => pictures.map(() => value);
  return {
    prompt: body.prompt,
    all_prompts: all(body.prompt),
    negative_prompt: body.negative_prompt,
    all_negative_prompts: all(body.negative_prompt),
    seed,
    all_seeds: pictures.map((p) => p.seed),
    subseed: -1,
    all_subseeds: all(-1),
    subseed_strength: 0,
    width: body.width,
    height: body.height,
    drawn: pictures[0] && `${pictures[0].drawn.width}x${pictures[0].drawn.height}`,
    sampler_name: SAMPLERS[sampler].name,
    cfg_scale: body.cfg_scale,
    steps: body.steps,
    batch_size: body.batch_size,
    restore_faces: false,
    face_restoration_model: null,
    seed_resize_from_w: -1,
    seed_resize_from_h: -1,
    denoising_strength: body.denoising_strength ?? null,
    index_of_first_image: 0,
    infotexts: pictures.map((p) => p.text.parameters),
    styles: [],
    clip_skip: 1,
    is_using_inpainting_conditioning: false,
    version: `tome-edge ${VERSION}`,
  };
}

/** "20261123031500" */
function timestamp(ms: number): string {
  return new Date(ms).toISOString().replace(/\D/g, "").slice(0, 14);
}
