import { AbortError } from "../../errors.ts";
import { resizePicture } from "../../image/resize.ts";
import type { GenerateOptions, Picture } from "../../pipeline/options.ts";
import { draw } from "../draw.ts";
import type { Drawing, DrawnPicture } from "../drawing.ts";
import type { ModelEntry } from "../models.ts";
import type { Job } from "../queue.ts";
import type { Service } from "../service.ts";

/** One call of the pipeline, and what becomes of its pictures. */
export interface Round {
  options: Omit<GenerateOptions, "signal" | "onStep">;
  finish?: (picture: Picture) => Picture;
  /** Draws every picture once more, larger. */
  hires?:
    & { width: number; height: number; steps?: number; strength: number }
    & Pick<GenerateOptions, "tokenMerging">;
}

/** What `interrupt` and `skip` reach of a job. */
export interface Controls {
  interrupted: boolean;
  skipped: boolean;
  /** Stops the call of the pipeline that runs. */
  stop(): void;
}

/** Jobs of this dialect by themselves; others can only be cancelled. */
export const controls: WeakMap<Job, Controls> = new WeakMap();

/** The rounds of a job, one after the other. One that is stopped gives its last preview, as AUTOMATIC1111 does. */
export async function drawRounds(
  job: Job,
  rounds: readonly Round[],
  { service: { models }, model, upscale }: { service: Service; model: ModelEntry; upscale: boolean },
): Promise<Drawing> {
  let controller = new AbortController();
  const control: Controls = { interrupted: false, skipped: false, stop: () => controller.abort() };
  controls.set(job, control);
  const drawing: Drawing = { pictures: [], stats: [], warnings: [] };
  const of = rounds.reduce((sum, { options, hires }) => sum + 1 + (hires ? options.n ?? 1 : 0), 0);
  let index = 0;
  const run = async (options: Round["options"]): Promise<{ drawn: Drawing; whole: boolean }> => {
    controller = new AbortController();
    const pass = { index: index++, of };
    job.step = undefined;
    try {
      const input = { job, models, model, pass, signal: controller.signal };
      return { drawn: await draw({ options, upscale }, input), whole: true };
    } catch (error) {
      if (!(controller.signal.aborted && error instanceof AbortError)) throw error;
      const what = control.interrupted ? "interrupted" : "skipped";
      const warnings = [`${what}: the picture is what there was of it`];
      return { drawn: { pictures: unfinished(job, options), stats: [], warnings }, whole: false };
    }
  };
  for (const { options, finish, hires } of rounds) {
    if (control.interrupted) break;
    const first = await run(options);
    let { pictures } = first.drawn;
    add(drawing, first.drawn);
    if (hires && first.whole) {
      const larger: DrawnPicture[] = [];
      for (const picture of pictures) {
        if (control.interrupted) break;
        const second = await run({
          ...options,
          ...hires,
          n: 1,
          seed: picture.seed,
          steps: hires.steps ?? options.steps,
          image: resizePicture(picture, hires),
        });
        add(drawing, second.drawn);
        larger.push(...second.drawn.pictures);
      }
      pictures = larger;
    }
    for (const picture of pictures) {
      const { width, height, data } = finish ? finish(picture) : picture;
      drawing.pictures.push({ ...picture, width, height, data: new Uint8ClampedArray(data) });
    }
  }
  return drawing;
}

function add(to: Drawing, { stats, warnings }: Drawing): void {
  to.stats.push(...stats);
  for (const warning of warnings) if (!to.warnings.includes(warning)) to.warnings.push(warning);
}

function unfinished(job: Job, { width, height, seed, prompt }: Round["options"]): DrawnPicture[] {
  return (job.step?.preview() ?? []).map((preview, i) => {
    const { data } = resizePicture(preview, { width: width!, height: height! });
    const drawn = { width: preview.width, height: preview.height };
    return { width: width!, height: height!, data, seed: seed! + i, drawn, text: { parameters: prompt } };
  });
}
