import { readdir, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { EMBEDDED_MODEL, type LoadOptions, loadPipeline, type Pipeline } from "../pipeline/pipeline.ts";
import type { ModelInfo } from "../pipeline/options.ts";
import { HttpError } from "./errors.ts";

/** A model that can be asked for. */
export interface ModelEntry {
  /** What a request calls it: the name of its folder. */
  readonly id: string;
  readonly folder: string;
  /** When its folder was last changed, seconds since 1970. */
  readonly created: number;
}

/**
 * Which models a server draws with.
 *
 * @example
 * ```ts
 * import { type ModelsOptions, Service } from "tome-edge/server";
 *
 * const models: ModelsOptions = { model: "models/emoji", load: { device: "cpu", threads: 1 } };
 * const service = await Service.start(models); // loads nothing yet
 * await service.close();
 * ```
 */
export interface ModelsOptions {
  /** The model that is loaded first and drawn with by default: a diffusers folder; the embedded one if absent. */
  model?: string;
  /** A folder of diffusers folders, which requests may ask for by name (`TOME_MODELS`). */
  folder?: string;
  /** For `loadPipeline`. */
  load?: LoadOptions;
}

/** The models of a server, one of them loaded at a time. */
export class Models {
  #loaded: { entry: ModelEntry; pipeline: Pipeline } | undefined;
  #current: ModelEntry;
  /** What models that were loaded said about themselves. */
  readonly #infos = new Map<ModelEntry, ModelInfo>();

  private constructor(readonly entries: readonly ModelEntry[], private readonly load: LoadOptions) {
    this.#current = entries[0];
  }

  /** Lists the models, and loads none. Throws where a folder is missing. */
  static async open({ model, folder, load = {} }: ModelsOptions): Promise<Models> {
    const entries: ModelEntry[] = [];
    const add = async (path: string) => {
      const id = basename(path);
      if (entries.some((e) => e.id === id)) return;
      entries.push({ id, folder: path, created: Math.floor((await stat(path)).mtimeMs / 1000) });
    };
    if (model !== undefined) {
      if (!await isModel(model)) {
        throw new Error(
          `Cannot serve ${model}: expected a diffusers folder with model_index.json, found none`,
        );
      }
      await add(resolve(model));
    }
    if (model === undefined) await add(resolve(fileURLToPath(EMBEDDED_MODEL)));
    if (folder !== undefined) {
      const names = await readdir(folder).catch(() => {
        throw new Error(`Cannot read the models in ${folder}: expected a folder, found none`);
      });
      for (const name of names.sort()) {
        const path = resolve(join(folder, name));
        if (await isModel(path)) await add(path);
      }
    }
    return new Models(entries, load);
  }

  /** What requests draw with that name no model. */
  get current(): ModelEntry {
    return this.#current;
  }

  set current(entry: ModelEntry) {
    this.#current = entry;
  }

  /** What the loaded model says about itself, if one is loaded. */
  get info(): ModelInfo | undefined {
    return this.#loaded?.pipeline.info;
  }

  /** What a model that was loaded at some time says about itself. */
  infoOf(entry: ModelEntry): ModelInfo | undefined {
    return this.#infos.get(entry);
  }

  get loaded(): ModelEntry | undefined {
    return this.#loaded?.entry;
  }

  /** By its name alone: a request's text never becomes a path. */
  find(id: string): ModelEntry | undefined {
    return this.entries.find((e) => e.id === id);
  }

  /** As `find`; throws an `HttpError` 404 that names the models there are. */
  get(id: string | undefined): ModelEntry {
    if (id === undefined) return this.#current;
    const entry = this.find(id);
    if (entry) return entry;
    const names = this.entries.map((e) => `"${e.id}"`).join(", ");
    throw new HttpError(404, `There is no model ${JSON.stringify(id.slice(0, 100))}: expected ${names}`, {
      code: "model_not_found",
      param: "model",
    });
  }

  /** The pipeline of a model, loaded if it is not. Only the job that runs may call this. */
  async use(entry: ModelEntry): Promise<Pipeline> {
    if (this.#loaded?.entry !== entry) {
      await this.dispose();
      this.#loaded = { entry, pipeline: await loadPipeline(entry.folder, this.load) };
      this.#infos.set(entry, this.#loaded.pipeline.info);
    }
    return this.#loaded!.pipeline;
  }

  async dispose(): Promise<void> {
    const loaded = this.#loaded;
    this.#loaded = undefined;
    await loaded?.pipeline.dispose();
  }
}

async function isModel(path: string): Promise<boolean> {
  return await stat(join(path, "model_index.json")).then((s) => s.isFile(), () => false);
}
