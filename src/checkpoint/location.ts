/**
 * Where a model lies, in one string: a folder, a URL of one, or its name on a hub.
 *
 * @module
 */
import { CheckpointError, quote } from "../errors.ts";
import type { StoreOptions } from "./chunk_store.ts";
import { httpFolder, type LoadProgress } from "./http_source.ts";
import { inNodeLike, variable } from "./place.ts";
import { type FolderSource, localFolder } from "./source.ts";

/**
 * Of models that come over the network; a local folder needs none.
 *
 * @example
 * ```ts
 * import { loadPipeline, type LoadProgress, type LocationOptions, type StoreOptions } from "tome-edge";
 *
 * const store: StoreOptions = { cache: false };
 * const options: LocationOptions = {
 *   ...store,
 *   signal: AbortSignal.timeout(60_000),
 *   onProgress: ({ file, loaded, total }: LoadProgress) => console.log(`${file}: ${loaded} of ${total} bytes`),
 * };
 * const model = "models/emoji"; // or "https://…", or "hf://owner/name"
 * const pipe = await loadPipeline(model, options);
 * await pipe.dispose();
 * ```
 */
export interface LocationOptions extends StoreOptions {
  /** Stops loading with an `AbortError`. */
  signal?: AbortSignal;
  /** Called as a file arrives, some hundred times for a large one. */
  onProgress?: (progress: LoadProgress) => void;
  /** Bytes of one request; 8 MiB by default. */
  chunkBytes?: number;
  /** Bytes of the download that stay in memory for tensors that lie out of order; 64 MiB by default. */
  memoryBytes?: number;
}

/** `owner/name`, and a branch, tag or commit. */
const HUB_ID = /^([\w-][\w.-]*)\/([\w-][\w.-]*?)(?:@([\w./-]+))?\/?$/;

/**
 * - `https://host/path/`, `http://…`: a folder behind a URL
 * - `hf://owner/name`, `hf://owner/name@revision`: the Hugging Face hub, or another at `HF_ENDPOINT`
 * - `file:///path`, or a path
 * - `owner/name` where there is no local folder of that name: as `hf://owner/name`
 */
export async function openLocation(model: string, options: LocationOptions = {}): Promise<FolderSource> {
  const scheme = /^([a-z][a-z0-9+.-]+):/i.exec(model)?.[1].toLowerCase();
  switch (scheme) {
    case "http":
    case "https":
      return await httpFolder(model, options);
    case "hf": {
      const id = HUB_ID.exec(model.slice("hf://".length));
      if (id && model.startsWith("hf://")) return await hubFolder(id, options);
      throw new CheckpointError(
        `Cannot open model ${
          quote(model)
        }: expected hf://owner/name or hf://owner/name@revision, found another`,
      );
    }
    case "file": {
      const { fileURLToPath } = await import("node:url");
      return localFolder(fileURLToPath(model));
    }
    case undefined:
      break;
    default:
      if (!model.startsWith(`${scheme}://`)) break; // a path with a colon
      throw new CheckpointError(
        `Cannot open model ${quote(model)}: expected http, https, hf, file or a path, found ${scheme}`,
      );
  }
  const id = inNodeLike ? HUB_ID.exec(model) : null;
  const folder = localFolder(model);
  // A slip in the name of a local folder asks no hub.
  const isHub = id && await folder.kind() === "nothing" && await localFolder(id[1]).kind() === "nothing";
  return isHub ? await hubFolder(id, options) : folder;
}

/** Weights in half precision are half the download, and all that a backend keeps. */
async function hubFolder(
  [, owner, name, revision = "main"]: RegExpExecArray,
  options: LocationOptions,
): Promise<FolderSource> {
  const hub = (variable("HF_ENDPOINT") || "https://huggingface.co").replace(/\/+$/, "");
  const token = variable("HF_TOKEN");
  return await httpFolder(`${hub}/${owner}/${name}/resolve/${encodeURIComponent(revision)}/`, {
    ...options,
    headers: token ? { authorization: `Bearer ${token}` } : undefined,
    variants: ["fp16", undefined],
    title: name,
  });
}
