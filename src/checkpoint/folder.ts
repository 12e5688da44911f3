/**
 * A diffusers folder: `model_index.json`, and `unet/`, `vae/`, `text_encoder/`, `tokenizer/`, `scheduler/`.
 *
 * @module
 */
import { CheckpointError, quote } from "../errors.ts";
import { parseSchedulerJson } from "../samplers/scheduler_config.ts";
import type { ClipTokenizerFiles } from "../tokenizer/clip_tokenizer.ts";
import {
  checkConfigsAgree,
  type ModelIndex,
  parseModelIndex,
  parseTextConfig,
  parseUnetConfig,
  parseVaeConfig,
  type TextConfig,
  type UnetConfig,
  type VaeConfig,
} from "./configs.ts";
import { type FolderSource, localFolder, readJson, readText } from "./source.ts";
import { type Component, openWeights, type WeightMap } from "./weight_map.ts";

/** Everything of a model but its weights, which are opened when asked for. */
export interface ModelFolder {
  /** The path, as given. */
  readonly name: string;
  readonly index: ModelIndex;
  readonly unet: UnetConfig;
  readonly vae: VaeConfig;
  readonly text: TextConfig;
  /** `scheduler/scheduler_config.json` as it stands, for `parseSchedulerConfig`. */
  readonly scheduler: unknown;
  /** For `ClipTokenizer.fromFiles`. */
  readonly tokenizer: ClipTokenizerFiles;
  /** To be closed by the caller. */
  weights(component: Component): Promise<WeightMap>;
}

/**
 * Reads and checks all configurations.
 *
 * @param folder a path, or any other folder of files
 * @param options.variant of the weight files, e.g. "fp16"; by default the plain ones, else fp16
 * @throws {CheckpointError} naming the file and field, what was expected and what was found
 */
export async function openModelFolder(
  folder: string | FolderSource,
  options: { variant?: string } = {},
): Promise<ModelFolder> {
  const source = typeof folder === "string" ? localFolder(folder) : folder;
  if (!(await source.has("model_index.json"))) {
    const kind = await source.kind();
    const found = source.absence?.("model_index.json") ??
      (kind === "folder" ? "no such file in it" : kind === "file" ? "a file" : "nothing there");
    throw new CheckpointError(
      `Cannot open model ${
        quote(source.name)
      }: expected a diffusers folder with model_index.json, found ${found}`,
    );
  }
  const path = (file: string) => `${source.name}/${file}`;
  const index = parseModelIndex(await readJson(source, "model_index.json"), path("model_index.json"));
  const config = async <T>(file: string, parse: (json: unknown, file: string) => T) =>
    parse(await readJson(source, file), path(file));
  const unet = await config("unet/config.json", parseUnetConfig);
  const vae = await config("vae/config.json", parseVaeConfig);
  const text = await config("text_encoder/config.json", parseTextConfig);
  checkConfigsAgree(unet, vae, { text });
  const schedulerFile = "scheduler/scheduler_config.json";
  const scheduler = parseSchedulerJson(await readText(source, schedulerFile), path(schedulerFile));
  const tokenizer = await readTokenizer(source, text.max_position_embeddings);
  return {
    name: source.name,
    index,
    unet,
    vae,
    text,
    scheduler,
    tokenizer,
    weights: (component) => openWeights(source, component, options),
  };
}

async function readTokenizer(source: FolderSource, maxLength: number): Promise<ClipTokenizerFiles> {
  const optional = async <T>(file: string, read: (source: FolderSource, path: string) => Promise<T>) =>
    await source.has(`tokenizer/${file}`) ? await read(source, `tokenizer/${file}`) : undefined;
  const config = await readJson(source, "tokenizer/tokenizer_config.json");
  const specialTokensMap = await optional("special_tokens_map.json", readJson);
  const tokenizerJson = await optional("tokenizer.json", readJson);
  if (tokenizerJson !== undefined && !(await source.has("tokenizer/vocab.json"))) {
    return { tokenizerJson, config, specialTokensMap, maxLength };
  }
  return {
    vocab: await readJson(source, "tokenizer/vocab.json"),
    merges: await readText(source, "tokenizer/merges.txt"),
    config,
    specialTokensMap,
    maxLength,
  };
}
