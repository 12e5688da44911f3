import type { Picture } from "../../pipeline/options.ts";
import type { SamplerName } from "../../samplers/sampler.ts";
import { HttpError } from "../errors.ts";
import type { ModelEntry } from "../models.ts";
import type { Service } from "../service.ts";
import { hiresFields } from "./infotext.ts";
import type { Round } from "./job.ts";
import {
  type Common,
  ignoredFields,
  type Img2Img,
  Img2ImgSchema,
  type Txt2Img,
  Txt2ImgSchema,
  unused,
} from "./schema.ts";
import { changeSettings, findModel, mergingOf, noiseOf, samplerOf, type Settings } from "./settings.ts";

const NAMES = {
  n: "batch_size",
  negativePrompt: "negative_prompt",
  guidanceScale: "cfg_scale",
  strength: "denoising_strength",
  sampler: "sampler_name",
} as const;

/** What a body asks for, checked and ready for the queue. */
export interface Plan {
  model: ModelEntry;
  rounds: Round[];
  seed: number;
  sampler: SamplerName;
  settings: Settings;
  /** Pictures of one round. */
  batchSize: number;
  ignored: string[];
  warnings: string[];
}

interface Context {
  service: Service;
  settings: Settings;
}

export function planTxt2Img(body: Txt2Img, context: Context): Plan {
  const { options, ...plan } = prepare(body, "txt2img", context);
  const { service } = context, { model, warnings } = plan;
  plan.ignored.push(...ignoredFields(body, Txt2ImgSchema));
  let hires: Round["hires"];
  if (!body.enable_hr) {
    plan.ignored.push(...unused(body, "hires"));
    if (body.denoising_strength !== undefined) plan.ignored.push("denoising_strength");
  } else {
    const size = hiresSize(body), strength = body.denoising_strength ?? 0.75;
    const { tokenMerging, warnings: more } = mergingOf(plan.settings, "hr");
    warnings.push(...more.filter((w) => !warnings.includes(w)));
    const steps = body.hr_second_pass_steps || body.steps;
    if (strength > 0) {
      const pass = { options: { ...options, ...size, steps }, upscale: body.upscale };
      service.check(pass, { model, names: { ...NAMES, width: "hr_scale" }, status: 422 });
    }
    const all = strength > 0 ? stretched(steps, { strength, sampler: plan.sampler }) : 0;
    const { width, height } = size, ratio = tokenMerging?.ratio;
    hires = {
      width,
      height,
      steps: all,
      strength: strength > 0 ? Math.max(strength, (1 + 1e-9) / all) : 0,
      tokenMerging,
      text: hiresFields({
        scale: size.exact ? undefined : body.hr_scale,
        width,
        height,
        steps: body.hr_second_pass_steps || undefined,
        strength,
        ratio: ratio === options.tokenMerging?.ratio ? undefined : ratio,
      }),
    };
    if (body.hr_upscaler && !/lanczos/i.test(body.hr_upscaler)) plan.ignored.push("hr_upscaler");
  }
  const seeded = { ...options, n: body.batch_size };
  service.check({ options: seeded, upscale: body.upscale }, { model, names: NAMES, status: 422 });
  const rounds = Array.from({ length: body.n_iter }, (_, i): Round => ({
    options: { ...seeded, seed: plan.seed + i * body.batch_size },
    hires,
  }));
  return { ...plan, rounds, batchSize: body.batch_size };
}

export async function planImg2Img(body: Img2Img, context: Context): Promise<Plan> {
  const { options, ...plan } = prepare(body, "img2img", context);
  const { service } = context, { model, warnings } = plan;
  plan.ignored.push(...ignoredFields(body, Img2ImgSchema));
  if (!body.mask) plan.ignored.push(...unused(body, "inpaint"));
  else {
    if (body.inpainting_fill > 1) plan.ignored.push("inpainting_fill");
    if (!body.inpaint_full_res && body.inpaint_full_res_padding) {
      plan.ignored.push("inpaint_full_res_padding");
    }
  }
  const initial: Picture[] = [];
  // One after the other: together they may be many times the size of the body.
  for (const text of body.init_images) initial.push(await read(text, "init_images", service));
  const mask = body.mask ? await read(body.mask, "mask", service) : undefined;
  const asked = body.denoising_strength ?? 0.75;
  const least = (1 + 1e-9) / body.steps; // so that rounding leaves one step
  const strength = Math.min(1, Math.max(asked, least));
  if (strength !== asked) {
    warnings.push(`denoising strength ${asked} of ${body.steps} steps is less than one: one step was drawn`);
  }
  // As there: each of several pictures is drawn once for every round.
  const batchSize = initial.length > 1 ? initial.length : body.batch_size;
  if (batchSize !== body.batch_size && body.batch_size !== 1) plan.ignored.push("batch_size");
  const count = { ...options, n: batchSize * body.n_iter, strength };
  service.check({ options: count, upscale: body.upscale }, { model, names: NAMES, status: 422 });
  const parts: ({ image: Picture; mask?: Picture } & Pick<Round, "finish">)[] = [];
  for (const image of initial) parts.push(mask ? await inpaint(image, mask, { body, service }) : { image });
  const rounds: Round[] = [];
  for (let i = 0; i < body.n_iter; i++) {
    for (const [j, { image, mask, finish }] of parts.entries()) {
      const seed = plan.seed + i * batchSize + j, n = initial.length > 1 ? 1 : batchSize;
      rounds.push({ options: { ...options, n, seed, strength, image, mask }, finish });
    }
  }
  return { ...plan, rounds, batchSize };
}

async function inpaint(
  picture: Picture,
  given: Picture,
  { body, service: { pictures } }: { body: Img2Img; service: Service },
) {
  const { width, height, mask_blur, inpainting_fill, inpaint_full_res } = body;
  const { image, mask, base, area } = await pictures.startInpainting(picture, given, {
    ...{ width, height, mask_blur, inpainting_fill, inpaint_full_res },
    inpaint_full_res_padding: body.inpaint_full_res_padding,
    inpainting_mask_invert: body.inpainting_mask_invert,
  });
  return {
    image,
    mask,
    finish: (drawn: Picture) => pictures.finishInpainting(drawn, { base, area, mask }),
  };
}

/** What both kinds of request have in common. */
function prepare(body: Common, kind: "txt2img" | "img2img", context: Context) {
  const { service, service: { models } } = context;
  const { settings, ignored } = changeSettings(context.settings, body.override_settings, models);
  const name = body.sampler_name || body.sampler_index || "Euler";
  const { sampler, met } = samplerOf(name, body.scheduler);
  if (!met) ignored.push("scheduler");
  if (body.sampler_name && body.sampler_index && body.sampler_index !== body.sampler_name) {
    ignored.push("sampler_index");
  }
  const merging = mergingOf(settings, kind);
  const seed = body.seed === -1 ? crypto.getRandomValues(new Uint32Array(1))[0] : body.seed;
  const options: Round["options"] = {
    prompt: body.prompt,
    negativePrompt: body.negative_prompt,
    width: body.width,
    height: body.height,
    steps: body.steps,
    guidanceScale: body.cfg_scale,
    sampler,
    seed,
    noise: noiseOf(settings),
    tokenMerging: merging.tokenMerging,
  };
  const model = findModel(models, settings.sd_model_checkpoint);
  const all = { options: { ...options, n: body.batch_size * body.n_iter }, upscale: body.upscale };
  service.check(all, { model, names: NAMES, status: 422 });
  return { model, settings, ignored, seed, sampler, options, warnings: merging.warnings };
}

async function read(text: string, param: string, { options, pictures }: Service): Promise<Picture> {
  try {
    return await pictures.decodeBase64(text, { maxPixels: 4 * options.maxPixels });
  } catch (cause) {
    if (cause instanceof HttpError) throw cause;
    throw new HttpError(422, (cause as Error).message, { code: "Invalid encoded image", param, cause });
  }
}

/** Of the second pass; with only one side given, the other keeps the aspect. */
function hiresSize({ width, height, hr_scale, hr_resize_x: x, hr_resize_y: y }: Txt2Img) {
  if (!x && !y) {
    return { width: Math.round(width * hr_scale), height: Math.round(height * hr_scale), exact: false };
  }
  const side = (value: number, scale: number) => Math.max(1, Math.round(value * scale));
  return { width: x || side(width, y / height), height: y || side(height, x / width), exact: true };
}

/** AUTOMATIC1111 takes so many steps whatever the strength: of how many more they are the last. */
function stretched(steps: number, { strength, sampler }: { strength: number; sampler: SamplerName }): number {
  let all = Math.ceil(steps / strength);
  while (Math.floor(all * strength) < steps) all++;
  return Math.min(sampler === "lcm" ? 50 : 998, all); // what the samplers have at most
}
