import { AbortError } from "../../errors.ts";
import { formatParameters } from "../../image/parameters.ts";
import type { GenerateOptions, Picture } from "../../pipeline/options.ts";
import { VERSION } from "../../version.ts";
import { draw } from "../draw.ts";
import type { Drawing, DrawnPicture } from "../drawing.ts";
import type { Pictures } from "../images/pictures.ts";
import type { ModelEntry } from "../models.ts";
import type { Job } from "../queue.ts";
import type { Service } from "../service.ts";

/** One call of the pipeline, and what becomes of its pictures. */
export interface Round {
  options: Omit<GenerateOptions, "signal" | "onStep">;
  finish?: (picture: Picture) => Promise<Picture>;
  /** Draws every picture once more, larger; with strength 0 it is scaled only. */
  hires?:
    & { width: number; height: number; steps: number; strength: number; text: string }
    & Pick<
      GenerateOptions,
      "tokenMerging"
    >;
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
  { service: { models, pictures: work }, model, upscale }: {
    service: Service;
    model: ModelEntry;
    upscale: boolean;
  },
): Promise<Drawing> {
  let controller = new AbortController();
  const control: Controls = { interrupted: false, skipped: false, stop: () => controller.abort() };
  controls.set(job, control);
  const drawing: Drawing = { pictures: [], stats: [], warnings: [] };
  const of = rounds.reduce((sum, { options, hires }) => sum + 1 + (hires?.strength ? options.n ?? 1 : 0), 0);
  let index = 0;
  const run = async (options: Round["options"]): Promise<{ drawn: Drawing; whole: boolean }> => {
    controller = new AbortController();
    const pass = { index: index++, of };
    job.step = undefined;
    try {
      const input = { job, models, pictures: work, model, pass, signal: controller.signal };
      return { drawn: await draw({ options, upscale }, input), whole: true };
    } catch (error) {
      if (!(controller.signal.aborted && error instanceof AbortError)) throw error;
      const what = control.interrupted ? "interrupted" : "skipped";
      const warnings = [`${what}: the picture is what there was of it`];
      const pictures = await unfinished(job, options, { work, model });
      return { drawn: { pictures, stats: [], warnings }, whole: false };
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
        const image = await work.cover(picture, hires);
        const text = { ...picture.text, parameters: picture.text.parameters + hires.text };
        let drawn: DrawnPicture = { ...picture, ...image, text };
        if (hires.strength > 0 && !control.interrupted) {
          const { width, height, steps, strength, tokenMerging } = hires;
          const second = await run({
            ...options,
            ...{ width, height, steps, strength, tokenMerging, image },
            n: 1,
            seed: picture.seed,
          });
          add(drawing, second.drawn);
          drawn = { ...drawn, ...second.drawn.pictures[0], text }; // none where it was stopped before a step
        }
        larger.push(drawn);
      }
      pictures = larger;
    }
    for (const picture of pictures) {
      const { width, height, data } = finish ? await finish(picture) : picture;
      drawing.pictures.push({ ...picture, width, height, data: new Uint8ClampedArray(data) });
    }
  }
  job.signal.throwIfAborted();
  return drawing;
}

function add(to: Drawing, { stats, warnings }: Drawing): void {
  to.stats.push(...stats);
  for (const warning of warnings) if (!to.warnings.includes(warning)) to.warnings.push(warning);
}

async function unfinished(
  job: Job,
  options: Round["options"],
  { work, model }: { work: Pictures; model: ModelEntry },
): Promise<DrawnPicture[]> {
  const { width, height } = options as { width: number; height: number };
  return await Promise.all((job.step?.preview() ?? []).map(async (preview, i) => {
    const { data } = await work.resize(preview, { width, height });
    const drawn = { width: preview.width, height: preview.height }, seed = options.seed! + i;
    const parameters = formatParameters({ ...options, ...drawn, seed, model: model.id, version: VERSION });
    return { width, height, data, seed, drawn, text: { parameters } };
  }));
}
