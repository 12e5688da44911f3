import type { Backend, MergePlan, Tensor } from "../backend/backend.ts";
import { unetForward } from "../models/unet.ts";
import { createNoiseSource, type NoiseSource } from "../samplers/random.ts";
import type { Sampler } from "../samplers/sampler.ts";
import { type MergeMap, tokensMergedInto } from "../tome/merge_map.ts";
import type { LayerTokens, Matched } from "../tome/plan.ts";
import { Held } from "./held.ts";
import { drawNoise, encodePicture, uploadMask } from "./latents.ts";
import type { Model } from "./model.ts";
import type { Request } from "./options.ts";

export interface BatchInput {
  request: Request;
  /** One for each picture. */
  seeds: readonly number[];
  sampler: Sampler;
  /** `[branches, M, C]`, unprompted first. */
  texts: Tensor;
  timestepCond?: Float32Array;
}

/** Pictures drawn together: their latents, from noise to the last step. */
export class Batch {
  /** x_t, `[pictures, h, w, L]`. */
  x!: Tensor;
  /** The last step's estimate of x_0. */
  denoised!: Tensor;
  readonly #held: Held;
  readonly #sources: readonly NoiseSource[];
  readonly #shape: readonly number[];
  #history: readonly Tensor[] = [];
  #noise!: Tensor;
  #context!: Tensor;
  #original: Tensor | undefined;
  #mask: Tensor | undefined;
  /** What lives as long as the batch. */
  #fixed: readonly Tensor[] = [];
  /** The last step's, kept if its merge maps were asked for. */
  #plans: { name: string; plan: MergePlan; matched: Matched }[] = [];

  constructor(readonly backend: Backend, readonly model: Model, readonly input: BatchInput) {
    const { request, seeds } = input;
    const { factor, config } = model.vae;
    this.#held = new Held(backend);
    this.#sources = seeds.map((seed) => createNoiseSource(request.noise, seed));
    this.#shape = [seeds.length, request.height / factor, request.width / factor, config.latent_channels];
  }

  async begin(): Promise<void> {
    const { backend: b, model } = this;
    const { request: { image, mask, strength }, seeds, sampler, texts } = this.input;
    const held = this.#held, sources = this.#sources;
    if (image) this.#original = held.add(await encodePicture(b, model, { picture: image, sources }));
    this.#noise = held.add(drawNoise(b, sources, this.#shape));
    if (mask) this.#mask = held.add(uploadMask(b, { mask, factor: model.vae.factor, batch: seeds.length }));
    const branches = Array.from({ length: texts.shape[0] }, (_, i) => b.rows(texts, i, i + 1));
    this.#context = held.add(b.stack(branches.flatMap((text) => seeds.map(() => text))));
    this.#fixed = held.tensors;
    // As diffusers: at strength 1 inpainting starts from noise alone, image to image still from the image.
    const fromImage = image && (strength < 1 || !mask);
    this.x = held.add(fromImage ? this.#noised(0) : b.lincomb([[sampler.initNoiseSigma, this.#noise]]));
  }

  /** One network call and what the sampler makes of it. Returns the tokens of every transformer block. */
  step(index: number): LayerTokens[] {
    const { backend: b, model: { unet } } = this;
    const { request: { tokenMerging, guidanceScale, mergeMaps }, seeds, sampler, texts, timestepCond } =
      this.input;
    const branches = texts.shape[0];
    const tokens: LayerTokens[] = [];
    const merging = tokenMerging
      ? {
        options: tokenMerging,
        latentHeight: this.#shape[1],
        latentWidth: this.#shape[2],
        seeds,
        branches,
        step: index,
        onPlan: (layer: LayerTokens, plan?: MergePlan, matched?: Matched) => {
          tokens.push(layer);
          if (mergeMaps && plan) {
            this.#plans.push({ name: layer.name, plan: b.keep(plan), matched: matched! });
          }
        },
      }
      : undefined;
    const { x } = this;
    const [next, denoised, ...history] = b.scope(() => {
      const noise = sampler.noisePerStep(index) ? drawNoise(b, this.#sources, this.#shape) : undefined;
      const scale = sampler.scaleInput(index);
      const input = scale === 1 ? x : b.lincomb([[scale, x]]);
      const output = unetForward(b, unet, branches === 2 ? b.stack([input, input]) : input, {
        timestep: sampler.timesteps[index],
        timestepCond,
        context: this.#context,
        merging,
      });
      const modelOutput = branches === 2 ? guide(b, output, guidanceScale) : output;
      const stepInput = { index, x, modelOutput, noise, history: this.#history };
      const out = sampler.step((terms) => b.lincomb(terms), stepInput);
      const painted = this.#mask ? b.blend(this.#mask, out.x, this.#noised(index + 1)) : out.x;
      return [painted, out.denoised, ...out.history];
    });
    this.#held.hold([...this.#fixed, next, denoised, ...history]);
    this.x = next;
    this.denoised = denoised;
    this.#history = history;
    return tokens;
  }

  /** The last step's merge maps, of every block that merged and every picture; picture 0 has number `first`. */
  async mergeMaps(first: number): Promise<MergeMap[]> {
    const { backend: b, input: { seeds, texts } } = this;
    const maps: MergeMap[] = [];
    for (const { name, plan, matched: { cells, randIdx } } of this.#plans) {
      const { rowOf } = await b.readPlan(plan);
      const tokens = plan.tokens, destinations = (randIdx?.length ?? 0) / plan.batch;
      for (let i = 0; i < seeds.length; i++) {
        const at = (texts.shape[0] - 1) * seeds.length + i; // the prompted branch comes last
        const rows = rowOf.subarray(at * tokens, (at + 1) * tokens);
        const drawn = randIdx?.subarray(at * destinations, (at + 1) * destinations);
        const into = tokensMergedInto(rows, cells, drawn);
        maps.push({ name, width: cells.width, height: cells.height, image: first + i, r: plan.merged, into });
      }
    }
    this.#freePlans();
    return maps;
  }

  #freePlans(): void {
    for (const { plan } of this.#plans.splice(0)) this.backend.free(plan);
  }

  end(): void {
    this.#freePlans();
    this.#held.hold([]);
  }

  /** The picture that we started from, as noisy as x_t before call `index`. */
  #noised(index: number): Tensor {
    const [image, noise] = this.input.sampler.addNoise(index);
    return this.backend.lincomb([[image, this.#original!], [noise, this.#noise]]);
  }
}

/** Classifier-free guidance on `[unprompted, prompted]`: u + s·(c − u). */
function guide(b: Backend, output: Tensor, scale: number): Tensor {
  const half = output.shape[0] / 2;
  return b.lincomb([[1 - scale, b.rows(output, 0, half)], [scale, b.rows(output, half, 2 * half)]]);
}
