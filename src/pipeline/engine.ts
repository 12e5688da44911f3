import type { Backend, Tensor } from "../backend/backend.ts";
import { countWork, type WorkEntry, WorkLog } from "../backend/count.ts";
import { type BackendOptions, createBackend, type DeviceName } from "../backend/mod.ts";
import type { UnetConfig } from "../checkpoint/configs.ts";
import type { LocationOptions } from "../checkpoint/location.ts";
import { AbortError, DeviceError } from "../errors.ts";
import { clipTextForward } from "../models/clip_text.ts";
import { guidanceEmbedding } from "../models/timestep_embedding.ts";
import { vaeDecode } from "../models/vae.ts";
import { createNoiseSource } from "../samplers/random.ts";
import { createSampler } from "../samplers/sampler.ts";
import type { MergeMap } from "../tome/merge_map.ts";
import type { LayerTokens } from "../tome/plan.ts";
import { Batch } from "./batch.ts";
import { CallCounter, largestFitting, LargestTensor } from "./count.ts";
import { Held } from "./held.ts";
import { loadModel, type Model } from "./model.ts";
import type { ModelInfo, Picture, Request, Stats } from "./options.ts";
import { tensorToPicture } from "./pixels.ts";
import { fitLatentColours, type LatentColours } from "./preview.ts";
import { warmUp } from "./warm_up.ts";

export interface EngineOptions extends BackendOptions, LocationOptions {
  device?: DeviceName;
}

/** A finished network call, as plain data. */
export interface EngineStep {
  index: number;
  total: number;
  timestep: number;
  seconds: number;
  /** If they were asked for. */
  mergeMaps?: MergeMap[];
  /** If previews were asked for: the estimate of the finished latents, `[pictures, h, w, channels]`, and its colours. */
  preview?: { latents: Float32Array; pictures: number; width: number; height: number; map: LatentColours };
}

export interface EngineResult {
  pictures: Picture[];
  stats: Stats;
  warnings: string[];
}

/** Runs requests, one at a time: in this thread (`Engine`) or in a worker (`RemoteEngine`). */
export interface EngineLike {
  readonly info: ModelInfo;
  run(request: Request, signal?: AbortSignal): AsyncGenerator<EngineStep, EngineResult>;
  dispose(): Promise<void>;
}

/** Pictures are drawn in batches whose latents together have at most this many pixels, or one by one. */
const BATCH_PIXELS = 4608;

/** What a model on a device is. */
interface Loaded {
  backend: Backend;
  model: Model;
}

type Reload = (device: DeviceName) => Promise<Loaded>;

/** A model on a backend, in this thread. */
export class Engine implements EngineLike {
  #info: ModelInfo;
  #backend: Backend;
  #model: Model;
  readonly #work: WorkLog;
  readonly #counter: CallCounter;
  /** Loads the model anew; there if the device was left to us. */
  readonly #reload: Reload | undefined;
  #colours: LatentColours | undefined;
  #largest: LargestTensor | undefined;

  static async load(location: string, { device = "auto", ...options }: EngineOptions): Promise<Engine> {
    const work = new WorkLog();
    let { signal, onProgress } = options;
    const load = async (device: DeviceName): Promise<Loaded> => {
      const backend = countWork(await createBackend(device, options), work);
      try {
        const model = await loadModel(backend, location, { ...options, signal, onProgress });
        warmUp(backend, model);
        return { backend, model };
      } catch (error) {
        await backend.dispose();
        throw error;
      }
    };
    try {
      return new Engine(await load(device), work, device === "auto" ? load : undefined);
    } catch (error) {
      if (!(device === "auto" && error instanceof DeviceError)) throw error;
      return new Engine(await load("cpu"), work, undefined); // a model too large for the GPU
    } finally {
      signal = onProgress = undefined; // they are of this call, not of a later load on another device
    }
  }

  private constructor({ backend, model }: Loaded, work: WorkLog, reload: Reload | undefined) {
    this.#backend = backend;
    this.#work = work;
    this.#model = model;
    this.#counter = new CallCounter(model.unet.config);
    this.#info = { ...model.info, device: backend.description };
    this.#reload = reload;
  }

  /** `device` changes when a run moved on to another. */
  get info(): ModelInfo {
    return this.#info;
  }

  /**
   * With device `auto`, a run whose GPU fails begins again with the same seed, on a fresh GPU and then on the
   * CPU; its warnings say so.
   */
  async *run(request: Request, signal?: AbortSignal): AsyncGenerator<EngineStep, EngineResult> {
    const failures: string[] = [];
    for (;;) {
      try {
        const result = yield* this.#draw(request, signal);
        return { ...result, warnings: [...failures, ...result.warnings] };
      } catch (error) {
        if (!(error instanceof DeviceError && this.#reload && this.#backend.device === "gpu")) throw error;
        await this.#backend.dispose();
        const { backend, model } = await this.#reload(failures.length ? "cpu" : "auto");
        this.#backend = backend;
        this.#model = model;
        this.#colours = undefined;
        this.#info = { ...this.#info, device: backend.description };
        failures.push(`${error.message}; drawn again on ${backend.description}`);
      }
    }
  }

  async *#draw(request: Request, signal?: AbortSignal): AsyncGenerator<EngineStep, EngineResult> {
    await this.#assertFits(request);
    const b = this.#backend;
    const { vae, scheduler } = this.#model;
    const width = request.width / vae.factor, height = request.height / vae.factor; // latent pixels
    const start = performance.now();
    const warnings: string[] = [];
    const seconds = { text: 0, encode: 0, denoise: 0, decode: 0, total: 0 };
    const stepSeconds: number[] = [];
    const pictures: Picture[] = [];
    const held = new Held(b);
    let last: Call | undefined;
    b.peakBytes(true);
    try {
      const { texts, timestepCond } = this.#encodeText(request, warnings);
      held.add(texts); // [branches, M, C]
      seconds.text = since(start);
      const map = request.previews ? this.#colours ??= await this.#fitColours() : undefined;
      const sampler = createSampler(request.sampler, scheduler, {
        steps: request.steps,
        strength: request.image ? request.strength : 1,
      });
      const most = batchSize(request.n, width * height);
      const total = sampler.timesteps.length * Math.ceil(request.n / most);

      for (let first = 0; first < request.n; first += most) {
        const count = Math.min(most, request.n - first);
        const seeds = Array.from({ length: count }, (_, i) => request.seed + first + i);
        const batch = new Batch(b, this.#model, { request, seeds, sampler, texts, timestepCond });
        try {
          const encodeStart = performance.now();
          await batch.begin();
          if (request.image) seconds.encode += since(encodeStart);

          for (const [index, timestep] of sampler.timesteps.entries()) {
            await this.#pause(signal, stepSeconds.length);
            const stepStart = performance.now();
            this.#work.clear();
            last = { tokens: batch.step(index), work: this.#work.entries, images: count };
            // Waits for the device, so that a step's time is its own.
            const latents = await b.read(map ? batch.denoised : b.rows(batch.x, 0, 1));
            stepSeconds.push(since(stepStart));
            yield {
              index: stepSeconds.length,
              total,
              timestep,
              seconds: stepSeconds[stepSeconds.length - 1],
              mergeMaps: request.mergeMaps ? await batch.mergeMaps(first) : undefined,
              preview: map && { latents, pictures: count, width, height, map },
            };
          }

          const decodeStart = performance.now();
          for (let i = 0; i < count; i++) {
            await this.#pause(signal, stepSeconds.length);
            pictures.push(await this.#decode(b.rows(batch.x, i, i + 1), warnings));
          }
          seconds.decode += since(decodeStart);
        } finally {
          batch.end();
        }
      }
      seconds.denoise = stepSeconds.reduce((a, s) => a + s, 0);
      seconds.total = since(start);
      return {
        pictures,
        warnings,
        stats: await this.#stats(request, { seconds, stepSeconds, texts, last: last! }),
      };
    } finally {
      held.hold([]);
    }
  }

  async dispose(): Promise<void> {
    await this.#backend.dispose();
  }

  /** Refuses, before any work, a picture whose largest tensor the device cannot hold. */
  async #assertFits(request: Request): Promise<void> {
    const { maxElements, maxElementsReason } = this.#backend;
    if (maxElements === undefined) return;
    const { unet, vae } = this.#model;
    this.#largest ??= new LargestTensor(unet.config, vae.config);
    const width = request.width / vae.factor, height = request.height / vae.factor;
    const encode = request.image !== undefined, branches = isGuided(request, unet.config) ? 2 : 1;
    const fitting = await largestFitting(this.#largest, {
      width,
      height,
      maxElements,
      call: (width, height) => ({
        width,
        height,
        images: batchSize(request.n, width * height),
        branches,
        encode,
      }),
    });
    if (fitting.width === width && fitting.height === height) return;
    throw new RangeError(
      `Cannot draw ${request.width}×${request.height} on ${this.#info.device}: expected at most ` +
        `${fitting.width * vae.factor}×${
          fitting.height * vae.factor
        } at this aspect, since a tensor is limited ` +
        `by ${maxElementsReason}`,
    );
  }

  /** Lets messages and timers through, an abort among them. */
  async #pause(signal: AbortSignal | undefined, networkCalls: number): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 0));
    if (signal?.aborted) throw new AbortError(`Stopped after ${networkCalls} network calls`);
  }

  /** The prompts of the branches of guidance, unprompted first. */
  #encodeText(request: Request, warnings: string[]): { texts: Tensor; timestepCond?: Float32Array } {
    const { tokenizer, text, unet } = this.#model;
    const { guidanceScale } = request;
    const condChannels = unet.config.time_cond_proj_dim;
    const prompts = isGuided(request, unet.config)
      ? [request.negativePrompt, request.prompt]
      : [request.prompt];
    const encodings = prompts.map((p) => tokenizer.encodeAll(p));
    for (const [i, { cut, cutText }] of encodings.entries()) {
      const prompt = JSON.stringify(prompts[i].slice(0, 40));
      if (cut) warnings.push(`the prompt ${prompt}… is ${cut} tokens too long; left out: ${cutText}`);
    }
    return {
      texts: clipTextForward(this.#backend, text, encodings.map((e) => e.ids)),
      timestepCond: condChannels === null ? undefined : guidanceEmbedding(guidanceScale, condChannels),
    };
  }

  /** x: latents of one picture, `[1, h, w, L]`. */
  async #decode(x: Tensor, warnings: string[] = []): Promise<Picture> {
    const b = this.#backend;
    const { vae } = this.#model;
    const { scaling_factor, shift_factor } = vae.config;
    const y = b.scope(() => {
      const shift = b.upload(new Float32Array(size(x)).fill(1), x.shape);
      return vaeDecode(b, vae, b.lincomb([[1 / scaling_factor, x], [shift_factor, shift]])); // [1, H, W, 3]
    });
    try {
      const values = await b.read(y);
      const bad = values.reduce((count, v) => count + (Number.isFinite(v) ? 0 : 1), 0);
      if (bad > 0) {
        warnings.push(`a picture is black in places: ${bad} of ${values.length} values are no numbers`);
      }
      return tensorToPicture(values, y.shape[2], y.shape[1]);
    } finally {
      b.free(y);
    }
  }

  /** Decodes smooth random latents and fits colours to them. */
  async #fitColours(): Promise<LatentColours> {
    const b = this.#backend;
    const { vae } = this.#model;
    const size = 8, channels = vae.config.latent_channels;
    const latents = createNoiseSource("cpu", 0).randn(size * size * channels);
    const x = b.upload(latents, [1, size, size, channels]);
    const { data } = await this.#decode(x);
    b.free(x);
    const colours = new Float32Array(size * size * 3);
    const pixels = vae.factor * vae.factor;
    for (let p = 0; p < size * size * pixels; p++) {
      const row = Math.floor(p / (size * vae.factor)), column = p % (size * vae.factor);
      const cell = Math.floor(row / vae.factor) * size + Math.floor(column / vae.factor);
      for (let k = 0; k < 3; k++) colours[cell * 3 + k] += (data[p * 4 + k] / 127.5 - 1) / pixels;
    }
    return fitLatentColours(latents, colours, channels);
  }

  async #stats(
    { seed, sampler, steps, width, height, tokenMerging }: Request,
    { seconds, stepSeconds, texts, last }: Pick<Stats, "seconds" | "stepSeconds"> & {
      texts: Tensor;
      last: Call;
    },
  ): Promise<Stats> {
    const { factor } = this.#model.vae;
    const multiplyAdds = last.work.reduce((a, layer) => a + layer.multiplyAdds, 0);
    const plain = await this.#counter.count({
      width: width / factor,
      height: height / factor,
      images: last.images,
      branches: texts.shape[0],
      contextTokens: texts.shape[1],
      tokenMerging: null,
    });
    return {
      device: this.info.device,
      seed,
      sampler,
      steps,
      tokenMerging,
      networkCalls: stepSeconds.length,
      seconds,
      stepSeconds,
      tokens: last.tokens,
      layers: last.work.map(({ name, kind, tokens, keys, multiplyAdds }) => ({
        name,
        kind,
        tokens,
        keys,
        multiplyAdds,
      })),
      multiplyAdds,
      ceiling: plain.multiplyAdds / multiplyAdds,
      peakBytes: this.#backend.peakBytes(),
    };
  }
}

/** Pictures of a run that are drawn together. */
function batchSize(n: number, latentPixels: number): number {
  return Math.max(1, Math.min(n, Math.floor(BATCH_PIXELS / latentPixels)));
}

/** Whether a network call has two branches; a network that is told the guidance scale needs but one. */
function isGuided({ guidanceScale }: Request, { time_cond_proj_dim }: UnetConfig): boolean {
  return guidanceScale > 1 && time_cond_proj_dim === null;
}

/** What one network call did. */
interface Call {
  tokens: LayerTokens[];
  work: readonly Readonly<WorkEntry>[];
  images: number;
}

function size(x: Tensor): number {
  return x.shape.reduce((a, n) => a * n, 1);
}

function since(start: number): number {
  return (performance.now() - start) / 1000;
}
