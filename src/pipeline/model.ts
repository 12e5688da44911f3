import { readFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import * as z from "zod/mini";
import type { Backend } from "../backend/backend.ts";
import { openModelFolder } from "../checkpoint/folder.ts";
import type { Component, WeightMap } from "../checkpoint/weight_map.ts";
import { CheckpointError } from "../errors.ts";
import { type ClipText, loadClipText } from "../models/clip_text.ts";
import { loadUnet, type Unet } from "../models/unet.ts";
import { loadVae, type Vae } from "../models/vae.ts";
import { parseSchedulerConfig, samplerOfConfig, type SchedulerConfig } from "../samplers/scheduler_config.ts";
import { ClipTokenizer } from "../tokenizer/clip_tokenizer.ts";
import type { ModelInfo } from "./options.ts";

/** The networks of a diffusers folder, on a backend. */
export interface Model {
  text: ClipText;
  unet: Unet;
  vae: Vae;
  tokenizer: ClipTokenizer;
  scheduler: SchedulerConfig;
  info: Omit<ModelInfo, "device">;
}

/** `tome_edge.json`, which a folder may have beside `model_index.json`: what diffusers' files cannot say. */
const Extras = z.strictObject({
  attribution: z.optional(z.string()),
  defaults: z.optional(z.strictObject({ steps: z.optional(z.int()), guidanceScale: z.optional(z.number()) })),
});

export async function loadModel(b: Backend, path: string): Promise<Model> {
  const folder = await openModelFolder(path);
  // What diffusers' pipelines do to an old checkpoint's config; its seeds mean nothing otherwise.
  const asPipelines = { ...folder.scheduler as object, steps_offset: 1, clip_sample: false };
  const scheduler = parseSchedulerConfig(asPipelines, `${path}/scheduler/scheduler_config.json`);
  const tokenizer = ClipTokenizer.fromFiles(folder.tokenizer);
  const extras = await readExtras(path);
  const load = async <T>(component: Component, body: (weights: WeightMap) => Promise<T>): Promise<T> => {
    const weights = await folder.weights(component);
    try {
      const network = await body(weights);
      weights.assertAllUsed();
      return network;
    } finally {
      await weights.close();
    }
  };
  const text = await load("text_encoder", (w) => loadClipText(b, w, folder.text));
  const unet = await load("unet", (w) => loadUnet(b, w, folder.unet));
  const vae = await load("vae", (w) => loadVae(b, w, folder.vae));
  const sample = folder.unet.sample_size ?? 64;
  const [height, width] = typeof sample === "number" ? [sample, sample] : sample;
  return {
    text,
    unet,
    vae,
    tokenizer,
    scheduler,
    info: {
      name: basename(resolve(path)),
      factor: vae.factor,
      nativeWidth: width * vae.factor,
      nativeHeight: height * vae.factor,
      attribution: extras.attribution,
      defaults: extras.defaults ?? {},
      sampler: samplerOfConfig(scheduler),
    },
  };
}

async function readExtras(path: string): Promise<z.output<typeof Extras>> {
  const file = join(path, "tome_edge.json");
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch {
    return {}; // most folders have none
  }
  try {
    return Extras.parse(JSON.parse(text));
  } catch (error) {
    throw new CheckpointError(
      `Cannot use ${file}: expected attribution and defaults, found ${
        (error as Error).message.replace(/\s+/g, " ")
      }`,
    );
  }
}
