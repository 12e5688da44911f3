/**
 * A folder of files behind a URL. Files are read by byte range in chunks of some megabytes, a few of which stay
 * in memory; chunks go to a store, if there is one, from where they come the next time. A server without ranges
 * gives a file once, in order, and all of it is kept.
 *
 * @module
 */
import { CheckpointError, quote } from "../errors.ts";
import { ChunkMemory } from "./chunk_memory.ts";
import { type ChunkStore, openStore, type StoreOptions } from "./chunk_store.ts";
import { HttpFile, type LoadProgress, type Shared } from "./http_file.ts";
import { Http, type HttpOptions } from "./http_request.ts";
import type { ByteSource, FolderSource } from "./source.ts";

export type { LoadProgress };

export interface HttpFolderOptions extends HttpOptions, StoreOptions {
  onProgress?: (progress: LoadProgress) => void;
  /** Bytes of one request; 8 MiB by default. */
  chunkBytes?: number;
  /** Bytes of the download that stay in memory for tensors that lie out of order; 64 MiB by default. */
  memoryBytes?: number;
  /** Of weight files, in the order of preference. */
  variants?: readonly (string | undefined)[];
  title?: string;
  /** Instead of the store that this place has. */
  store?: ChunkStore;
}

/**
 * @param base the URL of the folder, whose query goes with every file; a user and password in it become a header
 */
export async function httpFolder(base: string | URL, options: HttpFolderOptions = {}): Promise<FolderSource> {
  const { chunkBytes = 8 << 20, memoryBytes = 64 << 20, onProgress, variants } = options;
  const root = new URL(base);
  const headers = { ...options.headers };
  if (root.username || root.password) {
    headers.authorization = `Basic ${
      btoa(`${decodeURIComponent(root.username)}:${decodeURIComponent(root.password)}`)
    }`;
    root.username = root.password = "";
  }
  const { search } = root;
  root.search = root.hash = "";
  root.pathname = root.pathname.replace(/\/*$/, "/");
  const ended = new AbortController();
  const end = () => ended.abort();
  if (options.signal?.aborted) end();
  options.signal?.addEventListener("abort", end, { once: true });

  const { store, note } = options.store ? { store: options.store } : await openStore(options);
  const notes: string[] = note === undefined ? [] : [note];
  const shared: Shared = {
    http: new Http({ ...options, headers, signal: ended.signal }),
    chunkBytes,
    memory: new ChunkMemory(memoryBytes),
    onProgress,
    store,
    offline: false,
    storing: store !== undefined,
    note: (text) => notes.includes(text) || notes.push(text),
  };
  const found = new Map<string, Promise<HttpFile | string>>();
  const look = (path: string): Promise<HttpFile | string> => {
    let file = found.get(path);
    if (!file) {
      const url = new URL(path.split("/").map(encodeURIComponent).join("/"), root);
      url.search = search;
      // What failed is not kept: it may be asked for again.
      file = HttpFile.open(path, url, shared).catch((error) => {
        found.delete(path);
        throw error;
      });
      found.set(path, file);
    }
    return file;
  };
  const absences = new Map<string, string>();
  return {
    name: root.href.replace(/\/$/, ""),
    variants,
    notes,
    title: () =>
      Promise.resolve(options.title ?? (decodeURIComponent(root.pathname.split("/").at(-2)!) || root.host)),
    kind: () => Promise.resolve("nothing"),
    absence: (path) => absences.get(path),
    async has(path) {
      const file = await look(path);
      if (typeof file === "string") absences.set(path, file);
      return typeof file !== "string";
    },
    async open(path) {
      const file = await look(path);
      if (typeof file !== "string") {
        return {
          name: file.name,
          size: file.size,
          read: (from, to) => file.read(from, to),
          async close() {
            found.delete(path);
            await file.close();
          },
        } satisfies ByteSource;
      }
      throw new CheckpointError(`Cannot read ${quote(root.href + path)}: expected a file, found ${file}`);
    },
    async close() {
      options.signal?.removeEventListener("abort", end);
      end();
      for (const file of await Promise.allSettled(found.values())) {
        if (file.status === "fulfilled" && typeof file.value !== "string") await file.value.close();
      }
      found.clear();
    },
  };
}
