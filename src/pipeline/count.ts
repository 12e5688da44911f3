import type { Backend, HostTensor } from "../backend/backend.ts";
import { countWork, WorkLog } from "../backend/count.ts";
import { createShapesBackend } from "../backend/shapes/backend.ts";
import type { UnetConfig, VaeConfig } from "../checkpoint/configs.ts";
import { loadUnet, type Unet, unetForward } from "../models/unet.ts";
import { loadVae, type Vae, vaeDecode, vaeEncode } from "../models/vae.ts";
import type { WeightSource } from "../nn/weights.ts";
import type { TokenMergingOptions } from "../tome/options.ts";

/** Weights that are nothing but their shapes. */
const SHAPES: WeightSource = {
  take: (name, shape): HostTensor => ({ name, dtype: "F16", shape, data: new Uint8Array(0) }),
};

export interface CallShape {
  /** Latent pixels. */
  width: number;
  height: number;
  /** Images in the batch, each once for every branch of guidance. */
  images: number;
  branches: number;
  contextTokens: number;
  tokenMerging: Required<TokenMergingOptions> | null;
}

/** Counts the work of a UNet without doing any: a forward pass over shapes alone. */
export class CallCounter {
  readonly #log = new WorkLog();
  readonly #backend: Backend = countWork(createShapesBackend(), this.#log);
  readonly #unet: Promise<Unet>;

  constructor(readonly config: UnetConfig) {
    this.#unet = loadUnet(this.#backend, SHAPES, config);
  }

  /** Multiply-adds of one network call. */
  async count({ width, height, images, branches, contextTokens, tokenMerging }: CallShape): Promise<WorkLog> {
    const b = this.#backend, batch = images * branches;
    const unet = await this.#unet;
    this.#log.clear();
    b.scope(() => {
      const x = b.empty([batch, height, width, this.config.in_channels]);
      const context = b.empty([batch, contextTokens, this.config.cross_attention_dim]);
      const merging = tokenMerging
        ? {
          options: tokenMerging,
          latentHeight: height,
          latentWidth: width,
          seeds: new Array<number>(images).fill(0),
          branches,
          step: 0,
        }
        : undefined;
      const cond = this.config.time_cond_proj_dim;
      const timestepCond = cond === null ? undefined : new Float32Array(cond);
      unetForward(b, unet, x, { timestep: 0, timestepCond, context, merging });
    });
    return this.#log;
  }
}

/** The largest tensor of a picture's network call, decoding and encoding, by going through them without numbers. */
export class LargestTensor {
  readonly #backend = createShapesBackend();
  readonly #unet: Promise<Unet>;
  readonly #vae: Promise<Vae>;

  constructor(readonly unet: UnetConfig, readonly vae: VaeConfig) {
    this.#unet = loadUnet(this.#backend, SHAPES, unet);
    this.#vae = loadVae(this.#backend, SHAPES, vae);
  }

  /** Elements. Width and height are latent pixels. */
  async of(
    { width, height, images, branches, encode }: Omit<CallShape, "contextTokens" | "tokenMerging"> & {
      encode: boolean;
    },
  ): Promise<number> {
    const b = this.#backend;
    const unet = await this.#unet, vae = await this.#vae;
    b.largest = 0;
    b.scope(() => {
      const x = b.empty([images * branches, height, width, this.unet.in_channels]);
      const context = b.empty([images * branches, 1, this.unet.cross_attention_dim]);
      const cond = this.unet.time_cond_proj_dim;
      const timestepCond = cond === null ? undefined : new Float32Array(cond);
      unetForward(b, unet, x, { timestep: 0, timestepCond, context });
      vaeDecode(b, vae, b.empty([1, height, width, this.vae.latent_channels]));
      if (encode) vaeEncode(b, vae, b.empty([1, height * vae.factor, width * vae.factor, 3]));
    });
    return b.largest;
  }
}

/** The largest size of the same aspect, in latent pixels, whose tensors all fit. */
export async function largestFitting(
  largest: LargestTensor,
  { width, height, maxElements, call }: {
    width: number;
    height: number;
    maxElements: number;
    call: (width: number, height: number) => Parameters<LargestTensor["of"]>[0];
  },
): Promise<{ width: number; height: number }> {
  const long = Math.max(width, height);
  const scaled = (side: number, to: number) => Math.max(1, Math.floor(side * to / long));
  const fits = async (to: number) =>
    await largest.of(call(scaled(width, to), scaled(height, to))) <= maxElements;
  let low = 1, high = long + 1; // of the longer side
  if (await fits(long)) low = long;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (await fits(middle)) low = middle;
    else high = middle;
  }
  return { width: scaled(width, low), height: scaled(height, low) };
}
