import type { Backend, Tensor } from "../backend/backend.ts";
import { countWork, type WorkEntry, WorkLog } from "../backend/count.ts";
import { type BackendOptions, createBackend, type DeviceName } from "../backend/mod.ts";
import { AbortError, DeviceError } from "../errors.ts";
import { clipTextForward } from "../models/clip_text.ts";
import { guidanceEmbedding } from "../models/timestep_embedding.ts";
import { unetForward } from "../models/unet.ts";
import { vaeDecode } from "../models/vae.ts";
import { createNoiseSource } from "../samplers/random.ts";
import { createSampler } from "../samplers/sampler.ts";
import type { LayerTokens } from "../tome/plan.ts";
import { CallCounter, type CallShape, LargestTensor } from "./count.ts";
import { drawNoise, encodePicture, uploadMask } from "./latents.ts";
import { loadModel, type Model } from "./model.ts";
import type { ModelInfo, Picture, Request, Stats } from "./options.ts";
import { tensorToPicture } from "./pixels.ts";
import { fitLatentColours, type LatentColours } from "./preview.ts";

export interface EngineOptions extends BackendOptions {
  device?: DeviceName;
}

/** A finished network call, as plain data. */
export interface EngineStep {
  index: number;
  total: number;
  timestep: number;
  seconds: number;
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
  #colours: Promise<LatentColours> | undefined;
  #largest: LargestTensor | undefined;

  static async load(folder: string, { device = "auto", ...options }: EngineOptions): Promise<Engine> {
    const work = new WorkLog();
    const load = async (device: DeviceName): Promise<Loaded> => {
      const backend = countWork(await createBackend(device, options), work);
      try {
        return { backend, model: await loadModel(backend, folder) };
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
    const { vae, unet } = this.#model;
    const width = request.width / vae.factor, height = request.height / vae.factor; // latent pixels
    const start = performance.now();
    const warnings: string[] = [];
    const seconds = { text: 0, encode: 0, denoise: 0, decode: 0, total: 0 };
    const stepSeconds: number[] = [];
    b.peakBytes(true);

    // 1. text
    const condChannels = unet.config.time_cond_proj_dim;
    const guided = request.guidanceScale > 1 && condChannels === null;
    const timestepCond = condChannels === null
      ? undefined
      : guidanceEmbedding(request.guidanceScale, condChannels);
    const prompts = guided ? [request.negativePrompt, request.prompt] : [request.prompt];
    const held = new Held(b);
    const texts = held.add(this.#encodeText(prompts, warnings)); // [1 or 2, M, C]
    seconds.text = since(start);

    try {
      const map = request.previews ? await (this.#colours ??= this.#fitColours()) : undefined;
      const sampler = createSampler(request.sampler, this.#model.scheduler, {
        steps: request.steps,
        strength: request.image ? request.strength : 1,
      });
      const calls = sampler.timesteps.length;
      const batch = Math.max(1, Math.min(request.n, Math.floor(BATCH_PIXELS / (width * height))));
      const total = calls * Math.ceil(request.n / batch);
      const pictures: Picture[] = [];
      let tokens: LayerTokens[] = [], work: readonly Readonly<WorkEntry>[] = [];

      for (let first = 0; first < request.n; first += batch) {
        const count = Math.min(batch, request.n - first);
        const seeds = Array.from({ length: count }, (_, i) => request.seed + first + i);

        // 2. latents
        const encodeStart = performance.now();
        const sources = seeds.map((seed) => createNoiseSource(request.noise, seed));
        const shape = [count, height, width, vae.config.latent_channels];
        const original = request.image &&
          held.add(await encodePicture(b, this.#model, { picture: request.image, sources }));
        const noise = held.add(drawNoise(b, sources, shape));
        const mask = request.mask &&
          held.add(uploadMask(b, { mask: request.mask, factor: vae.factor, batch: count }));
        const noised = (index: number) => {
          const [a, s] = sampler.addNoise(index);
          return b.lincomb([[a, original!], [s, noise]]);
        };
        const context = held.add(
          b.stack(prompts.flatMap((_, p) => seeds.map(() => b.rows(texts, p, p + 1)))),
        );
        const fixed = held.tensors;
        let x = held.add(
          // As diffusers: at strength 1 inpainting starts from noise alone, image to image still from the image.
          original && (request.strength < 1 || !mask)
            ? noised(0)
            : b.lincomb([[sampler.initNoiseSigma, noise]]),
        );
        let history: readonly Tensor[] = [];
        seconds.encode += original ? since(encodeStart) : 0;

        // 3. denoising
        for (const [index, timestep] of sampler.timesteps.entries()) {
          await macrotask();
          if (signal?.aborted) throw stopped(stepSeconds.length);
          const stepStart = performance.now();
          this.#work.clear();
          tokens = [];
          const merging = request.tokenMerging && {
            options: request.tokenMerging,
            latentHeight: height,
            latentWidth: width,
            seeds,
            branches: prompts.length,
            step: index,
            onPlan: (layer: LayerTokens) => tokens.push(layer),
          };
          const stepNoise = sampler.noisePerStep(index) ? drawNoise(b, sources, shape) : undefined;
          const [next, denoised, ...nextHistory] = b.scope(() => {
            const scale = sampler.scaleInput(index);
            const input = scale === 1 ? x : b.lincomb([[scale, x]]);
            const output = unetForward(b, unet, guided ? b.stack([input, input]) : input, {
              timestep,
              timestepCond,
              context,
              merging: merging ?? undefined,
            });
            const modelOutput = guided ? guide(b, output, count, request.guidanceScale) : output;
            const out = sampler.step((terms) => b.lincomb(terms), {
              index,
              x,
              modelOutput,
              noise: stepNoise,
              history,
            });
            const painted = mask ? b.blend(mask, out.x, noised(index + 1)) : out.x;
            return [painted, out.denoised, ...out.history];
          });
          work = this.#work.entries;
          held.hold([...fixed, next, denoised, ...nextHistory]);
          x = next;
          history = nextHistory;
          const latents = map ? await b.read(denoised) : undefined;
          if (!map && index === calls - 1) await b.read(b.rows(x, 0, 1)); // so that the last step's time is its own
          stepSeconds.push(since(stepStart));
          yield {
            index: stepSeconds.length,
            total,
            timestep,
            seconds: stepSeconds[stepSeconds.length - 1],
            preview: latents && { latents, pictures: count, width, height, map: map! },
          };
        }

        // 4. picture
        const decodeStart = performance.now();
        for (let i = 0; i < count; i++) {
          await macrotask();
          if (signal?.aborted) throw stopped(stepSeconds.length);
          pictures.push(await this.#decode(b.rows(x, i, i + 1)));
        }
        seconds.decode += since(decodeStart);
        held.hold([texts]);
      }

      seconds.denoise = stepSeconds.reduce((a, s) => a + s, 0);
      seconds.total = since(start);
      const call = {
        width,
        height,
        images: (request.n - 1) % batch + 1,
        branches: prompts.length,
        contextTokens: texts.shape[1],
      };
      return {
        pictures,
        warnings,
        stats: await this.#stats(request, { seconds, stepSeconds, tokens, work, call }),
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
    const { factor, config } = this.#model.vae;
    this.#largest ??= new LargestTensor(this.#model.unet.config, config);
    const largest = this.#largest;
    const guided = request.guidanceScale > 1 && this.#model.unet.config.time_cond_proj_dim === null;
    const branches = guided ? 2 : 1;
    const fits = async (width: number, height: number) => {
      const images = Math.max(1, Math.min(request.n, Math.floor(BATCH_PIXELS / (width * height))));
      return await largest.of({ width, height, images, branches, encode: !!request.image }) <= maxElements;
    };
    const width = request.width / factor, height = request.height / factor;
    if (await fits(width, height)) return;
    let low = 0, high = Math.max(width, height); // of the longer side, at this aspect
    const sides = (long: number) =>
      [width, height].map((side) => Math.max(1, Math.floor(side * long / Math.max(width, height))));
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      const [w, h] = sides(middle);
      if (await fits(w, h)) low = middle;
      else high = middle;
    }
    const [w, h] = sides(low);
    throw new RangeError(
      `Cannot draw ${request.width}×${request.height} on ${this.#info.device}: expected at most ` +
        `${w * factor}×${h * factor} at this aspect, since a tensor is limited by ${maxElementsReason}`,
    );
  }

  #encodeText(prompts: readonly string[], warnings: string[]): Tensor {
    const { tokenizer, text } = this.#model;
    const encodings = prompts.map((p) => tokenizer.encodeAll(p));
    encodings.forEach((e, i) => {
      if (e.cut) {
        warnings.push(
          `the prompt ${
            JSON.stringify(prompts[i].slice(0, 40))
          }… is ${e.cut} tokens too long; left out: ${e.cutText}`,
        );
      }
    });
    return clipTextForward(this.#backend, text, encodings.map((e) => e.ids));
  }

  /** x: latents of one picture, `[1, h, w, L]`. */
  async #decode(x: Tensor): Promise<Picture> {
    const b = this.#backend;
    const { vae } = this.#model;
    const { scaling_factor, shift_factor } = vae.config;
    const y = b.scope(() => {
      const shift = b.upload(new Float32Array(size(x)).fill(1), x.shape);
      return vaeDecode(b, vae, b.lincomb([[1 / scaling_factor, x], [shift_factor, shift]])); // [1, H, W, 3]
    });
    try {
      return tensorToPicture(await b.read(y), y.shape[2], y.shape[1]);
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
    request: Request,
    run: Pick<Stats, "seconds" | "stepSeconds" | "tokens"> & {
      work: readonly Readonly<WorkEntry>[];
      call: Omit<CallShape, "tokenMerging">;
    },
  ): Promise<Stats> {
    const { seed, sampler, steps, tokenMerging } = request;
    const multiplyAdds = run.work.reduce((a, layer) => a + layer.multiplyAdds, 0);
    const plain = await this.#counter.count({ ...run.call, tokenMerging: null });
    return {
      device: this.info.device,
      seed,
      sampler,
      steps,
      tokenMerging,
      networkCalls: run.stepSeconds.length,
      seconds: run.seconds,
      stepSeconds: run.stepSeconds,
      tokens: run.tokens,
      layers: run.work.map(({ name, kind, tokens, keys, multiplyAdds }) => ({
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

/** Tensors that outlive a step: whatever is not held anew is freed. */
class Held {
  #tensors = new Set<Tensor>();

  constructor(readonly backend: Backend) {}

  get tensors(): Tensor[] {
    return [...this.#tensors];
  }

  add(x: Tensor): Tensor {
    this.#tensors.add(x);
    return x;
  }

  hold(tensors: readonly Tensor[]): void {
    const next = new Set(tensors);
    for (const x of this.#tensors) if (!next.has(x)) this.backend.free(x);
    this.#tensors = next;
  }
}

/** Classifier-free guidance on `[uncond, cond]`: u + s·(c − u). */
function guide(b: Backend, output: Tensor, count: number, scale: number): Tensor {
  return b.lincomb([[1 - scale, b.rows(output, 0, count)], [scale, b.rows(output, count, 2 * count)]]);
}

function stopped(networkCalls: number): AbortError {
  return new AbortError(`Stopped after ${networkCalls} network calls`);
}

function size(x: Tensor): number {
  return x.shape.reduce((a, n) => a * n, 1);
}

function since(start: number): number {
  return (performance.now() - start) / 1000;
}

/** Lets messages and timers through: that is how an abort reaches a run. */
function macrotask(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
