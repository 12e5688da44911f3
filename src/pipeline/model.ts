import * as z from "zod/mini";
import type { Backend } from "../backend/backend.ts";
import { openModelFolder } from "../checkpoint/folder.ts";
import { type LocationOptions, openLocation } from "../checkpoint/location.ts";
import { type FolderSource, readJson } from "../checkpoint/source.ts";
import type { Component, WeightMap } from "../checkpoint/weight_map.ts";
import { AbortError, CheckpointError } from "../errors.ts";
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

/** `location` is a path, a URL or a name on a hub: see `openLocation`. */
export async function loadModel(b: Backend, location: string, options: LocationOptions = {}): Promise<Model> {
  const source = await openLocation(location, options);
  try {
    return await loadFrom(b, source, options.signal);
  } finally {
    await source.close?.();
  }
}

async function loadFrom(b: Backend, source: FolderSource, signal?: AbortSignal): Promise<Model> {
  const folder = await openModelFolder(source);
  // What diffusers' pipelines do to an old checkpoint's config; its seeds mean nothing otherwise.
  const asPipelines = { ...folder.scheduler as object, steps_offset: 1, clip_sample: false };
  const scheduler = parseSchedulerConfig(asPipelines, `${source.name}/scheduler/scheduler_config.json`);
  const tokenizer = ClipTokenizer.fromFiles(folder.tokenizer);
  const extras = await readExtras(source);
  const load = async <T>(component: Component, body: (weights: WeightMap) => Promise<T>): Promise<T> => {
    if (signal?.aborted) throw new AbortError(`Stopped before loading ${component}`);
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
      name: await source.title?.() ?? source.name,
      notes: source.notes?.length ? source.notes : undefined,
      factor: vae.factor,
      nativeWidth: width * vae.factor,
      nativeHeight: height * vae.factor,
      attribution: extras.attribution,
      defaults: extras.defaults ?? {},
      sampler: samplerOfConfig(scheduler),
    },
  };
}

async function readExtras(folder: FolderSource): Promise<z.output<typeof Extras>> {
  const file = "tome_edge.json";
  if (!await folder.has(file)) return {}; // most folders have none
  const json = await readJson(folder, file);
  try {
    return Extras.parse(json);
  } catch (error) {
    throw new CheckpointError(
      `Cannot use ${folder.name}/${file}: expected attribution and defaults, found ${
        (error as Error).message.replace(/\s+/g, " ")
      }`,
    );
  }
}
