/**
 * Where chunks of files from the network are kept for the next time: a folder on Deno, Bun and Node, the `Cache`
 * API in browsers.
 *
 * @module
 */
import { inBrowser, inNodeLike, mayUse, variable } from "./place.ts";

/** Which version of a file chunks belong to. */
export interface Version {
  readonly size: number;
  /** `ETag`, else `Last-Modified`; without either nothing is kept. */
  readonly validator: string;
}

export interface ChunkStore {
  /** The version of which chunks may be there. */
  version(url: string): Promise<Version | undefined>;
  /** Drops the chunks of other versions. */
  begin(url: string, version: Version): Promise<void>;
  /** The chunk, if it is there with that length. */
  get(
    url: string,
    version: Version,
    chunk: { index: number; length: number },
  ): Promise<Uint8Array | undefined>;
  /** Throws where there is no room. */
  put(url: string, version: Version, chunk: { index: number; data: Uint8Array }): Promise<void>;
}

/** Where downloads are kept for the next time; see `LocationOptions`. */
export interface StoreOptions {
  /** Keep what is downloaded for the next time; true by default where there is a place for it. */
  cache?: boolean;
  /** The folder for it on Deno, Bun and Node; `$XDG_CACHE_HOME/tome-edge` by default. */
  cacheDir?: string;
}

/** The store of this place, or why there is none, if that is worth a note. */
export async function openStore(
  { cache, cacheDir }: StoreOptions,
): Promise<{ store?: ChunkStore; note?: string }> {
  if (cache === false) return {};
  if (inNodeLike) {
    const folder = cacheDir ?? await defaultFolder();
    if (folder === undefined) {
      return { note: "nothing is cached: HOME and XDG_CACHE_HOME are not set, or may not be read" };
    }
    if (!mayUse("read", folder) || !mayUse("write", folder)) {
      return { note: `nothing is cached: reading and writing ${folder} is not permitted` };
    }
    return { store: folderStore(folder) };
  }
  if (!inBrowser) return {};
  if (typeof caches === "undefined") {
    return { note: "nothing is cached: the page is not a secure context (https or localhost)" };
  }
  try {
    return { store: cacheStore(await caches.open("tome-edge")) };
  } catch (error) {
    return { note: `nothing is cached: ${(error as Error).message}` };
  }
}

async function defaultFolder(): Promise<string | undefined> {
  const cache = variable("XDG_CACHE_HOME");
  const home = variable("HOME") ?? variable("USERPROFILE");
  const { join } = await import("node:path");
  if (cache) return join(cache, "tome-edge");
  return home ? join(home, ".cache", "tome-edge") : undefined;
}

/** `FOLDER/HASH of the URL/HASH of the version/CHUNK`. Files appear whole, by renaming, and never change. */
function folderStore(folder: string): ChunkStore {
  const imports = Promise.all([import("node:fs/promises"), import("node:path")]);
  const places = async (url: string, version?: Version) => {
    const [fs, { join }] = await imports;
    const file = join(folder, await hash(url));
    const inVersion = version && join(file, await hash(`${version.size} ${version.validator}`));
    /** Two processes may write one file: the last to rename wins, with the same bytes. */
    const write = async (path: string, data: string | Uint8Array) => {
      const part = `${path}.${crypto.randomUUID()}.part`;
      try {
        await fs.writeFile(part, data);
        await fs.rename(part, path);
      } catch (error) {
        await fs.rm(part, { force: true });
        throw error;
      }
    };
    return { fs, join, file, folder: inVersion!, description: join(file, "version.json"), write };
  };
  return {
    async version(url) {
      const { fs, description } = await places(url);
      try {
        const { size, validator } = JSON.parse(await fs.readFile(description, "utf8"));
        return Number.isSafeInteger(size) && typeof validator === "string" ? { size, validator } : undefined;
      } catch {
        return undefined;
      }
    },
    async begin(url, version) {
      const { fs, join, file, folder, description, write } = await places(url, version);
      await fs.mkdir(folder, { recursive: true });
      await write(description, JSON.stringify(version));
      for (const name of await fs.readdir(file)) {
        const path = join(file, name);
        if (path !== folder && path !== description && !name.endsWith(".part")) {
          await fs.rm(path, { recursive: true, force: true });
        }
      }
    },
    async get(url, version, { index, length }) {
      const { fs, join, folder } = await places(url, version);
      const data = await fs.readFile(join(folder, `${index}`)).catch(() => undefined);
      return data?.length === length ? new Uint8Array(data.buffer, data.byteOffset, length) : undefined;
    },
    async put(url, version, { index, data }) {
      const { join, folder, write } = await places(url, version);
      await write(join(folder, `${index}`), data);
    },
  };
}

async function hash(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(digest, 0, 16)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Entries are named by the file's URL with the version and chunk in its query. */
export function cacheStore(cache: Pick<Cache, "match" | "keys" | "put" | "delete">): ChunkStore {
  const key = (url: string, part: string) => {
    const name = new URL(url);
    name.searchParams.append("tome-edge", part);
    return name.href;
  };
  const chunk = (url: string, { size, validator }: Version, index: number) =>
    key(url, `${size} ${validator} ${index}`);
  return {
    async version(url) {
      const found = await cache.match(key(url, "version"));
      return found && await found.json();
    },
    async begin(url, version) {
      const kept = chunk(url, version, 0).slice(0, -1), all = key(url, "");
      for (const { url: name } of await cache.keys()) {
        if (name.startsWith(all) && !name.startsWith(kept)) await cache.delete(name);
      }
      await cache.put(key(url, "version"), new Response(JSON.stringify(version)));
    },
    async get(url, version, { index, length }) {
      const found = await cache.match(chunk(url, version, index));
      const data = found && new Uint8Array(await found.arrayBuffer());
      return data?.length === length ? data : undefined;
    },
    async put(url, version, { index, data }) {
      await cache.put(chunk(url, version, index), new Response(data as Uint8Array<ArrayBuffer>));
    },
  };
}
