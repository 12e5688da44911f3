import { AbortError } from "../errors.ts";
import type { GenerateOptions, Picture } from "../pipeline/options.ts";
import type { Drawing, DrawnPicture } from "./drawing.ts";
import { drawSize } from "./draw_size.ts";
import { HttpError } from "./errors.ts";
import type { Pictures } from "./images/pictures.ts";
import type { ModelEntry, Models } from "./models.ts";
import type { Job } from "./queue.ts";

/** One run of the pipeline, as every dialect asks for it. */
export interface Pass {
  /** `width` and `height` are those of the picture to hand out; `image` and `mask` may have any size. */
  options: Omit<GenerateOptions, "signal" | "onStep">;
  /** Draw near the model's own size and scale up where far more is asked for. Otherwise exactly what is asked for. */
  upscale: boolean;
}

export interface DrawInput {
  job: Job;
  models: Models;
  pictures: Pictures;
  model: ModelEntry;
  /** Passes before and after this one count into the job's progress. */
  pass?: { index: number; of: number };
  /** Stops this pass alone; what the job's own signal says goes before it. */
  signal?: AbortSignal;
}

/** Runs one pass within a job. Throws what `generate` throws; the job's own reason where that stopped it. */
export async function draw(
  { options, upscale }: Pass,
  { job, models, pictures, model, pass = { index: 0, of: 1 }, signal }: DrawInput,
): Promise<Drawing> {
  job.signal.throwIfAborted();
  const pipeline = await models.use(model);
  const { info } = pipeline;
  const wanted = {
    width: options.width ?? info.nativeWidth,
    height: options.height ?? info.nativeHeight,
  };
  const size = drawSize(wanted, info, upscale);
  const { width, height } = size;
  const fit = (picture: Picture | undefined) =>
    picture && (picture.width !== width || picture.height !== height)
      ? pictures.resize(picture, { width, height })
      : picture;
  const image = await fit(options.image), mask = await fit(options.mask);
  const stop = signal ? AbortSignal.any([job.signal, signal]) : job.signal;
  try {
    for await (const step of pipeline.steps({ ...options, width, height, image, mask, signal: stop })) {
      job.report(step, (pass.index + step.index / step.total) / pass.of);
      if (!step.result) continue;
      const { images, stats, warnings } = step.result;
      const drawn: DrawnPicture[] = [];
      for (const [i, image] of images.entries()) {
        const scaled = size.scaled ? await pictures.resize(image, wanted) : image;
        const parameters = size.scaled
          ? `${image.text.parameters}, Scaled to: ${wanted.width}x${wanted.height} (Lanczos)`
          : image.text.parameters;
        drawn.push({
          width: scaled.width,
          height: scaled.height,
          data: scaled.data,
          seed: stats.seed + i,
          drawn: { width, height },
          text: { ...image.text, parameters },
        });
      }
      job.signal.throwIfAborted();
      return { pictures: drawn, stats: [stats], warnings };
    }
  } catch (error) {
    if (job.signal.aborted && error instanceof AbortError) throw job.signal.reason;
    throw error;
  }
  throw new HttpError(500, "The run ended without a result");
}
