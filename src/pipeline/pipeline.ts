import type { BackendOptions, DeviceName } from "../backend/mod.ts";
import type { LocationOptions } from "../checkpoint/location.ts";
import { inBrowser } from "../checkpoint/place.ts";
import { AbortError } from "../errors.ts";
import { formatParameters } from "../image/parameters.ts";
import { encodePng } from "../image/png.ts";
import type { TokenMergingOptions } from "../tome/options.ts";
import { VERSION } from "../version.ts";
import { EMBEDDED_MODEL } from "./embedded_model.ts";
import { Engine, type EngineLike, type EngineResult, type EngineStep } from "./engine.ts";
import type { GenerateOptions, GenerateResult, Image, ModelInfo, Picture, Request, Step } from "./options.ts";
import { previewPicture } from "./preview.ts";
import { RemoteEngine } from "./remote_engine.ts";
import { resolveRequest } from "./request.ts";

export { EMBEDDED_MODEL };

/**
 * Where and how to run a model.
 *
 * @example
 * ```ts
 * import { loadPipeline, type LoadOptions } from "tome-edge";
 *
 * const options: LoadOptions = { device: "cpu", threads: 1, kernels: "strict", worker: false };
 * const pipe = await loadPipeline(undefined, options);
 * console.log(pipe.info.device);
 * await pipe.dispose();
 * ```
 */
export interface LoadOptions extends BackendOptions, LocationOptions {
  /** Where to compute; `auto` by default. */
  device?: DeviceName;
  /** Run in a worker, so that the caller's thread stays free; true by default. */
  worker?: boolean;
}

/**
 * Loads a diffusers folder with `.safetensors` weights: from a path, a URL (https, http, file), or a hub by
 * `hf://owner/name@revision`. Over the network, files are read by byte range and cached for the next time, on
 * disk or by the browser's `Cache` API (`cache: false` for neither); `onProgress` says how far it is, and
 * `signal` stops it.
 *
 * @throws {CheckpointError} that names the file or tensor, for a folder that cannot be used.
 * @throws {DeviceError} for a device that cannot be used.
 *
 * @example
 * ```ts
 * import { loadPipeline } from "tome-edge";
 *
 * const pipe = await loadPipeline("models/emoji");
 * const { images } = await pipe.generate({
 *   prompt: "a 3d icon of a red apple", seed: 1, width: 64, height: 64, steps: 2,
 * });
 * await pipe.dispose();
 * ```
 */
export async function loadPipeline(
  model: string | URL = EMBEDDED_MODEL,
  options: LoadOptions = {},
): Promise<Pipeline> {
  const { worker = true, ...engineOptions } = options;
  let location = String(model);
  // A page's paths are relative to it; to a worker they would be relative to the worker's script.
  if (inBrowser && !/^[a-z][a-z0-9+.-]+:/i.test(location)) {
    const { document, location: here } = globalThis as { document?: { baseURI: string }; location: Location };
    location = new URL(location, document?.baseURI ?? here.href).href;
  }
  return new Pipeline(await (worker ? RemoteEngine : Engine).load(location, engineOptions));
}

/**
 * A loaded model. Runs are done one after the other, in the order of the calls.
 *
 * @example
 * ```ts
 * import { loadPipeline, type Pipeline } from "tome-edge";
 *
 * const pipe: Pipeline = await loadPipeline();
 * for await (const step of pipe.steps({ prompt: "a red apple", width: 64, height: 64, steps: 3 })) {
 *   console.log(`${step.index} of ${step.total}`);
 *   if (step.index === 2) break; // stops the run
 * }
 * await pipe.dispose();
 * ```
 */
export class Pipeline {
  /** What `applyPatch` sets: the merging of runs that do not say otherwise. */
  tokenMerging: TokenMergingOptions | null = null;
  readonly #engine: EngineLike;
  /** Ends when the last run that was asked for has ended. */
  #queue: Promise<void> = Promise.resolve();
  #disposed = false;

  /** @internal Made by `loadPipeline`. */
  constructor(engine: EngineLike) {
    this.#engine = engine;
  }

  /** What the loaded model says about itself. */
  get info(): ModelInfo {
    return this.#engine.info;
  }

  /**
   * Draws `n` pictures.
   *
   * @throws {TypeError} for an unknown option or the wrong kind of value.
   * @throws {RangeError} for a value out of range.
   * @throws {AbortError} if its `signal` stopped it.
   * @throws {DeviceError} if the device fails, or lacks the memory.
   */
  async generate(options: GenerateOptions): Promise<GenerateResult> {
    const previews = options?.onStep !== undefined;
    for await (const step of this.#run(options, previews)) {
      options.onStep?.(step);
      if (step.result) return step.result;
    }
    throw new Error("The run ended without a result");
  }

  /** The same, step by step; the last step carries the result. Leaving the loop early stops the run. */
  steps(options: GenerateOptions): AsyncGenerator<Step, void> {
    return this.#run(options, true);
  }

  /** Waits for the runs that were asked for, then frees the model, its memory and its threads. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    await this.#queue;
    await this.#engine.dispose();
  }

  async *#run(options: GenerateOptions, previews: boolean): AsyncGenerator<Step, void> {
    if (this.#disposed) {
      throw new Error("Cannot generate: expected a pipeline in use, found one that was disposed");
    }
    const request = resolveRequest(options, { model: this.info, patch: this.tokenMerging, previews });
    const before = this.#queue;
    let finish!: () => void;
    this.#queue = Promise.all([before, new Promise<void>((resolve) => finish = resolve)]).then(() =>
      undefined
    );
    try {
      await untilAborted(before, options.signal);
      const run = this.#engine.run(request, options.signal);
      try {
        let last: EngineStep | undefined; // kept back, to carry the result
        for (;;) {
          const next = await run.next();
          if (next.done) {
            yield { ...this.#step(last!), result: this.#result(request, next.value) };
            return;
          }
          last = next.value;
          if (last.index < last.total) yield this.#step(last);
        }
      } finally {
        await run.return(undefined as never);
      }
    } finally {
      finish();
    }
  }

  #step({ index, total, timestep, seconds, mergeMaps, preview }: EngineStep): Step {
    return {
      index,
      total,
      timestep,
      seconds,
      mergeMaps,
      preview: () => {
        if (!preview) return [];
        const { latents, pictures, width, height, map } = preview;
        const each = latents.length / pictures;
        return Array.from({ length: pictures }, (_, i) => {
          const part = latents.subarray(i * each, (i + 1) * each);
          return toImage(previewPicture(part, { width, height, factor: this.info.factor, map }), {});
        });
      },
    };
  }

  #result(request: Request, { pictures, stats, warnings }: EngineResult): GenerateResult {
    const images = pictures.map((picture, i) => {
      const text: Record<string, string> = { parameters: this.#parameters(request, request.seed + i) };
      text.Software = `tome-edge ${VERSION}`;
      if (this.info.attribution) text.Copyright = this.info.attribution;
      return toImage(picture, text);
    });
    return { images, stats, warnings };
  }

  #parameters(request: Request, seed: number): string {
    return formatParameters({ ...request, seed, model: this.info.name, version: VERSION });
  }
}

function toImage({ width, height, data }: Picture, text: Record<string, string>): Image {
  const pixels = data as Uint8ClampedArray<ArrayBuffer>;
  return {
    width,
    height,
    data: pixels,
    text,
    png: () => encodePng({ width, height, data: pixels }, { text }),
  };
}

/** Waits in the queue, but no longer than the caller wants to. */
async function untilAborted(before: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  let abort!: () => void;
  const aborted = new Promise<never>((_, reject) => abort = () => reject(new AbortError()));
  if (signal?.aborted) abort();
  signal?.addEventListener("abort", abort, { once: true });
  try {
    await Promise.race([before, aborted]);
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}
