import { z } from "@hono/zod-openapi";

/** Clients send null for what they leave to the server. */
const orElse = <T extends z.ZodType, D>(schema: T, otherwise: D) =>
  z.nullish(schema).transform((value): z.output<T> | D => value ?? otherwise);
const orNothing = <T extends z.ZodType>(schema: T) =>
  z.nullish(schema).transform((value) => value ?? undefined);

const Count = z.int().min(1).max(64);
const Size = z.int().min(1).max(16384);

export const SettingsSchema = z.record(z.string(), z.unknown());

const common = {
  prompt: orElse(z.string(), ""),
  negative_prompt: orElse(z.string(), ""),
  seed: orElse(z.int().min(-1), -1),
  sampler_name: orNothing(z.string()),
  sampler_index: orNothing(z.string()),
  scheduler: orNothing(z.string()),
  batch_size: orElse(Count, 1),
  n_iter: orElse(Count, 1),
  steps: orElse(z.int().min(1).max(1000), 50),
  cfg_scale: orElse(z.number().min(0).max(100), 7),
  width: orElse(Size, 512),
  height: orElse(Size, 512),
  denoising_strength: orNothing(z.number().min(0).max(1)),
  override_settings: orElse(SettingsSchema, {} as Record<string, unknown>),
  override_settings_restore_afterwards: orElse(z.boolean(), true),
  send_images: orElse(z.boolean(), true),
  infotext: orNothing(z.string()),
  /** Ours: false draws at exactly the size, however far it is from the model's own. */
  upscale: orElse(z.boolean(), true),
};

/** Of no use without `enable_hr`. */
const hires = {
  hr_scale: orElse(z.number().min(1).max(8), 2),
  hr_upscaler: orNothing(z.string()),
  hr_second_pass_steps: orElse(z.int().min(0).max(1000), 0),
  hr_resize_x: orElse(z.int().min(0).max(16384), 0),
  hr_resize_y: orElse(z.int().min(0).max(16384), 0),
};

/** Of no use without `mask`. */
const inpaint = {
  mask_blur: orElse(z.number().min(0).max(64), 4),
  inpainting_fill: orElse(z.int().min(0).max(3), 0),
  inpaint_full_res: orElse(z.boolean(), true),
  inpaint_full_res_padding: orElse(z.int().min(0).max(1024), 0),
  inpainting_mask_invert: orElse(z.int().min(0).max(1), 0),
};

export const Txt2ImgSchema = z.looseObject({ ...common, enable_hr: orElse(z.boolean(), false), ...hires });

export const Img2ImgSchema = z.looseObject({
  ...common,
  init_images: z.array(z.string()).min(1).max(64),
  mask: orNothing(z.string()),
  ...inpaint,
  include_init_images: orElse(z.boolean(), false),
});

export type Txt2Img = z.output<typeof Txt2ImgSchema>;
export type Img2Img = z.output<typeof Img2ImgSchema>;
/** What both kinds of request have. */
export type Common = z.output<z.ZodObject<typeof common>>;

/**
 * Fields of AUTOMATIC1111's that we have no use for, and the values that ask for nothing. `info` lists those that
 * ask for something, and whatever nobody knows.
 */
const WITHOUT_EFFECT: Record<string, unknown[]> = {
  styles: [[]],
  subseed: [-1],
  subseed_strength: [0],
  seed_resize_from_h: [-1, 0],
  seed_resize_from_w: [-1, 0],
  eta: [0],
  s_churn: [0],
  s_tmin: [0],
  s_tmax: [0],
  s_noise: [1],
  s_min_uncond: [0],
  tiling: [false],
  restore_faces: [false],
  save_images: [false],
  do_not_save_samples: [false, true],
  do_not_save_grid: [false, true],
  alwayson_scripts: [{}],
  script_name: [""],
  script_args: [[]],
  force_task_id: [""],
  disable_extra_networks: [false],
  comments: [{}],
  firstphase_width: [0],
  firstphase_height: [0],
  hr_checkpoint_name: [""],
  hr_sampler_name: [""],
  hr_scheduler: [""],
  hr_prompt: [""],
  hr_negative_prompt: [""],
  refiner_checkpoint: [""],
  refiner_switch_at: [0],
  resize_mode: [0],
  image_cfg_scale: [0],
  initial_noise_multiplier: [1],
  latent_mask: [""],
  mask_blur_x: [4],
  mask_blur_y: [4],
  mask_round: [true],
};

/** The fields of a body that ask for something that is not done. */
export function ignoredFields(body: Record<string, unknown>, schema: z.ZodObject): string[] {
  return Object.keys(body).filter((name) => {
    const value = body[name];
    if (Object.hasOwn(schema.shape, name) || value === null || value === undefined) return false;
    const nothing = Object.hasOwn(WITHOUT_EFFECT, name) ? WITHOUT_EFFECT[name] : [];
    return !nothing.some((n) => JSON.stringify(n) === JSON.stringify(value));
  });
}

/** Those of `group` that were given another value than they have when left out. */
export function unused(body: Record<string, unknown>, group: "hires" | "inpaint"): string[] {
  const left = Object.entries(group === "hires" ? hires : inpaint);
  return left.filter(([name, schema]) => body[name] !== schema.parse(undefined)).map(([name]) => name);
}
