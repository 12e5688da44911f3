import type { z } from "@hono/zod-openapi";
import type { Step } from "../../pipeline/options.ts";
import type { Drawing, DrawnPicture } from "../drawing.ts";
import { base64 } from "../images/base64.ts";
import type { ImageFormat } from "../images/encode.ts";
import type { Pictures } from "../images/pictures.ts";
import type { Job } from "../queue.ts";
import type { Service } from "../service.ts";
import type { JobSchema, ResultSchema } from "./schemas.ts";

export interface FileOptions {
  format: ImageFormat;
  quality?: number;
}

export type Result = z.output<typeof ResultSchema>;

export function encodePicture(
  picture: DrawnPicture,
  { format, quality }: FileOptions,
  { pictures }: { pictures: Pictures },
) {
  return pictures.encode(picture, { format, quality, text: picture.text });
}

/** What a job's pictures are handed out by: encoded and hosted once for each job. */
const hosted = new WeakMap<Drawing, Promise<{ url: string; bytes: Uint8Array<ArrayBuffer> }[]>>();

export function host(drawing: Drawing, options: FileOptions, service: Service) {
  let result = hosted.get(drawing);
  if (!result) {
    result = Promise.all(drawing.pictures.map(async (picture) => {
      const bytes = await encodePicture(picture, options, service);
      return { url: service.files.add({ bytes, type: `image/${options.format}` }), bytes };
    }));
    hosted.set(drawing, result);
  }
  return result;
}

export async function toResult(
  job: Job,
  { service, file, withBytes }: { service: Service; file: FileOptions; withBytes: boolean },
): Promise<Result> {
  const drawing = job.result!;
  const urls = await host(drawing, file, service);
  const stats = drawing.stats.at(-1)!;
  return {
    id: job.id,
    images: drawing.pictures.map(({ seed, width, height, drawn }, i) => ({
      url: (service.options.publicUrl ?? "") + urls[i].url,
      ...withBytes && { b64_json: base64(urls[i].bytes) },
      seed,
      width,
      height,
      drawn,
    })),
    stats: {
      device: stats.device,
      sampler: stats.sampler,
      steps: stats.steps,
      network_calls: stats.networkCalls,
      seconds: stats.seconds,
      step_seconds: stats.stepSeconds,
      tokens: stats.tokens,
      multiply_adds: stats.multiplyAdds,
      ceiling: stats.ceiling,
      peak_bytes: stats.peakBytes,
    },
    warnings: drawing.warnings,
  };
}

/** Without what it made, for which pictures have to be written. */
export function summary(job: Job) {
  return {
    id: job.id,
    dialect: job.options.dialect,
    state: job.state,
    position: job.position,
    progress: job.progress,
    step: job.step?.index ?? null,
    steps: job.step?.total ?? null,
    seconds_left: job.secondsLeft ?? null,
    created_at: new Date(job.createdAt).toISOString(),
    error: job.error?.message ?? null,
    result: null,
  };
}

export async function toJob(
  job: Job,
  service: Service,
  file: FileOptions,
): Promise<z.output<typeof JobSchema>> {
  const hasPictures = job.result && job.result.stats.length > 0;
  const result = hasPictures ? await toResult(job, { service, file, withBytes: false }) : null;
  return { ...summary(job), result };
}

/** A step's event; previews are data URLs of small PNGs, maps base64 of little-endian Int32. */
export async function toStep(
  job: Job,
  { index, total, timestep, seconds, preview, mergeMaps }: Step,
  { pictures, previews }: { pictures: Pictures; previews: boolean },
) {
  const shown = previews ? await Promise.all(preview().map((p) => pictures.preview(p, 256))) : undefined;
  return {
    index,
    total,
    timestep,
    seconds,
    progress: job.progress,
    seconds_left: job.secondsLeft ?? null,
    ...shown && { preview: shown.map((png) => `data:image/png;base64,${png}`) },
    ...mergeMaps && {
      merge_maps: mergeMaps.map(({ into, ...map }) => ({
        ...map,
        into: base64(new Uint8Array(into.buffer, into.byteOffset, into.byteLength)),
      })),
    },
  };
}
