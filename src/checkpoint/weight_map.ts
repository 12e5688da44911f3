/**
 * The weights of one network by their checkpoint path, whatever files they lie in and under whichever of the
 * names that diffusers and transformers have used.
 *
 * @module
 */
import type { HostTensor } from "../backend/backend.ts";
import { CheckpointError, quote } from "../errors.ts";
import { openSafetensors, type SafetensorsFile } from "./safetensors.ts";
import { type FolderSource, readJson } from "./source.ts";

export type Component = "unet" | "vae" | "text_encoder";

/** Of no use to inference, and in some files only. */
const IGNORED = /^(text_model\.)?embeddings\.position_ids$/;

/** The autoencoder's attention before diffusers 0.15. */
const OLD_VAE_NAMES: Record<string, string> = {
  to_q: "query",
  to_k: "key",
  to_v: "value",
  "to_out.0": "proj_attn",
};
const VAE_ATTENTION = /^(.*\.attentions\.\d+)\.(to_q|to_k|to_v|to_out\.0)\.(weight|bias)$/;

/** Tensors are read when they are taken; each is expected to be taken. */
export class WeightMap {
  readonly #files: readonly SafetensorsFile[];
  readonly #home = new Map<string, SafetensorsFile>();
  readonly #taken = new Set<string>();

  /** @throws {CheckpointError} if two files have a tensor of one name. */
  constructor(readonly name: string, files: readonly SafetensorsFile[]) {
    this.#files = files;
    for (const file of files) {
      for (const tensor of file.tensors.keys()) {
        if (this.#home.has(tensor)) {
          throw new CheckpointError(
            `Cannot load ${quote(tensor)}: expected it once, found it also in ${quote(file.name)}`,
          );
        }
        this.#home.set(tensor, file);
      }
    }
  }

  /** Names as in the files. */
  names(): string[] {
    return [...this.#home.keys()];
  }

  has(name: string): boolean {
    return this.#find(name) !== undefined;
  }

  /**
   * The tensor of that path and shape. Old names are found by their present ones, and the autoencoder's
   * attention weights also as 1×1 convolutions `[C, C, 1, 1]`.
   *
   * @throws {CheckpointError} if it is missing, of another shape, or neither F16, BF16 nor F32.
   */
  async take(name: string, shape: readonly number[]): Promise<HostTensor> {
    const found = this.#find(name);
    if (found === undefined) {
      throw new CheckpointError(
        `Cannot load ${quote(name)}: expected a tensor [${shape.join(", ")}], found none in ${
          quote(this.name)
        }`,
      );
    }
    const file = this.#home.get(found)!;
    const stored = file.tensors.get(found)!.shape;
    const fits = (a: readonly number[]) => a.length === shape.length && a.every((n, i) => n === shape[i]);
    const squeezed = VAE_ATTENTION.test(name) && stored.length === 4 && stored[2] === 1 && stored[3] === 1;
    if (!fits(stored) && !(squeezed && fits(stored.slice(0, 2)))) {
      const list = stored.length > 8 ? `${stored.slice(0, 8).join(", ")}, …` : stored.join(", ");
      throw new CheckpointError(
        `Cannot load ${quote(name)}: expected [${shape.join(", ")}], found [${list}]`,
      );
    }
    const tensor = await file.read(found);
    this.#taken.add(found);
    return { ...tensor, name, shape };
  }

  /** Tensors that nothing took: the file holds another architecture than its config says. */
  unused(): string[] {
    return this.names().filter((name) => !this.#taken.has(name) && !IGNORED.test(name));
  }

  /** @throws {CheckpointError} if there are such tensors. */
  assertAllUsed(): void {
    const unused = this.unused();
    if (unused.length === 0) return;
    const more = unused.length > 1 ? ` and ${unused.length - 1} more` : "";
    throw new CheckpointError(
      `Cannot load ${quote(this.name)}: expected only tensors that its config calls for, found ` +
        quote(unused[0]) + more,
    );
  }

  async close(): Promise<void> {
    await Promise.all(this.#files.map((file) => file.close()));
  }

  #find(name: string): string | undefined {
    return namesOf(name).find((candidate) => this.#home.has(candidate));
  }
}

function namesOf(name: string): string[] {
  const names = [name];
  names.push(name.startsWith("text_model.") ? name.slice("text_model.".length) : `text_model.${name}`);
  const attention = VAE_ATTENTION.exec(name);
  if (attention) names.push(`${attention[1]}.${OLD_VAE_NAMES[attention[2]]}.${attention[3]}`);
  return names;
}

/**
 * Opens the weights of one network of a diffusers folder: one `.safetensors` or several with an index, of the
 * variant asked for ("fp16"), else of the folder's own preference: the plain ones, else those of variant fp16.
 *
 * @throws {CheckpointError} naming the file that is missing or damaged.
 */
export async function openWeights(
  folder: FolderSource,
  component: Component,
  options: { variant?: string } = {},
): Promise<WeightMap> {
  const stem = component === "text_encoder" ? "model" : "diffusion_pytorch_model";
  const variants = options.variant === undefined ? folder.variants ?? [undefined, "fp16"] : [options.variant];
  for (const variant of variants) {
    const dot = variant === undefined ? "" : `.${variant}`;
    const single = `${component}/${stem}${dot}.safetensors`;
    if (await folder.has(single)) {
      return await open(folder, { paths: [single], name: `${folder.name}/${single}` });
    }
    // diffusers writes the variant behind `index`, transformers before `safetensors`.
    for (const end of [`${dot}.safetensors.index.json`, `.safetensors.index${dot}.json`]) {
      const index = `${component}/${stem}${end}`;
      if (await folder.has(index)) return await openShards(folder, component, index);
    }
  }
  const expected = variants.map((v) => `${stem}${v === undefined ? "" : `.${v}`}.safetensors`).join(" or ");
  const pickle = component === "text_encoder" ? "pytorch_model.bin" : `${stem}.bin`;
  const found = await folder.has(`${component}/${pickle}`)
    ? `only ${pickle}, which is not read because it can run code; save it as safetensors`
    : "neither it nor an index of its parts";
  throw new CheckpointError(
    `Cannot load ${quote(`${folder.name}/${component}`)}: expected ${expected}, found ${found}`,
  );
}

async function openShards(folder: FolderSource, component: Component, index: string): Promise<WeightMap> {
  const name = `${folder.name}/${index}`;
  const json = await readJson(folder, index) as { weight_map?: unknown } | null;
  const entries = Object.entries(typeof json?.weight_map === "object" ? json.weight_map ?? {} : {});
  if (entries.length === 0 || Array.isArray(json?.weight_map)) {
    throw new CheckpointError(
      `Cannot read ${quote(name)}: expected a weight_map of tensor names to files, found none`,
    );
  }
  for (const [tensor, file] of entries) {
    // A file beside the index: no path leads out of the folder.
    if (typeof file !== "string" || !/^[\w-][\w.-]*\.safetensors$/.test(file)) {
      throw new CheckpointError(
        `Cannot read ${quote(name)}: expected a .safetensors file name for ${quote(tensor)}, found ${
          quote(String(file))
        }`,
      );
    }
  }
  const files = [...new Set(entries.map(([, file]) => file as string))].sort();
  const weights = await open(folder, { paths: files.map((file) => `${component}/${file}`), name });
  const missing = entries.find(([tensor]) => !weights.has(tensor));
  if (missing) {
    await weights.close();
    throw new CheckpointError(
      `Cannot read ${quote(name)}: expected ${quote(missing[0])} in ${quote(missing[1])}, found none`,
    );
  }
  return weights;
}

async function open(folder: FolderSource, files: { paths: string[]; name: string }): Promise<WeightMap> {
  const opened: { close(): Promise<void> }[] = [];
  try {
    const parsed: SafetensorsFile[] = [];
    for (const path of files.paths) {
      const source = await folder.open(path);
      opened.push(source);
      parsed.push(await openSafetensors(source));
    }
    return new WeightMap(files.name, parsed);
  } catch (error) {
    await Promise.all(opened.map((file) => file.close()));
    throw error;
  }
}
