import { VERSION } from "../../version.ts";
import type { Drawing } from "../drawing.ts";
import type { Job } from "../queue.ts";
import { SAMPLERS } from "./lists.ts";
import type { Plan } from "./request.ts";
import type { Common } from "./schema.ts";

/** What `info` holds: of the pictures, and what was taken and not used. */
export function infoOf(
  { pictures, stats, warnings }: Drawing,
  { job, body, plan }: { job: Job; body: Common; plan: Plan },
) {
  const all = <T>(value: T) => pictures.map(() => value);
  const [{ options, hires }] = plan.rounds;
  const ratios = {
    "Token merging ratio": options.tokenMerging?.ratio,
    "Token merging ratio hr": hires?.tokenMerging?.ratio,
  };
  return {
    prompt: body.prompt,
    all_prompts: all(body.prompt),
    negative_prompt: body.negative_prompt,
    all_negative_prompts: all(body.negative_prompt),
    seed: plan.seed,
    all_seeds: pictures.map((p) => p.seed),
    subseed: -1,
    all_subseeds: all(-1),
    subseed_strength: 0,
    width: body.width,
    height: body.height,
    drawn: pictures[0] && `${pictures[0].drawn.width}x${pictures[0].drawn.height}`,
    sampler_name: SAMPLERS[plan.sampler].name,
    cfg_scale: body.cfg_scale,
    steps: body.steps,
    batch_size: plan.batchSize,
    restore_faces: false,
    face_restoration_model: null,
    sd_model_name: plan.model.id,
    sd_model_hash: null,
    seed_resize_from_w: -1,
    seed_resize_from_h: -1,
    denoising_strength: body.denoising_strength ?? null,
    extra_generation_params: Object.fromEntries(Object.entries(ratios).filter(([, ratio]) => ratio)),
    index_of_first_image: 0,
    infotexts: pictures.map((p) => p.text.parameters),
    styles: [],
    job_timestamp: timestamp(job.createdAt),
    clip_skip: 1,
    is_using_inpainting_conditioning: false,
    version: `tome-edge ${VERSION}`,
    token_merging: stats.map(({ tokens, ceiling }) => ({ tokens, ceiling })),
    ignored: plan.ignored,
    warnings: [...warnings, ...plan.warnings],
  };
}

/** "20261123031500" */
export function timestamp(ms: number): string {
  return new Date(ms).toISOString().replace(/\D/g, "").slice(0, 14);
}
