/**
 * Where checkpoint bytes come from. Readers know only `ByteSource` and `FolderSource`, so that a file, a Blob
 * and an HTTP range request are one thing to them.
 *
 * @module
 */
import { CheckpointError, quote } from "../errors.ts";

/** Random access to the bytes of one file. */
export interface ByteSource {
  /** For messages. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Bytes `from` to `to` (exclusive), all of them or an error. */
  read(from: number, to: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** A folder of files, by path relative to it, with `/` between the parts. */
export interface FolderSource {
  /** For messages. */
  readonly name: string;
  /** What is there, for messages when a file is missing. */
  kind(): Promise<"folder" | "file" | "nothing">;
  has(path: string): Promise<boolean>;
  /** @throws {CheckpointError} if there is no such file or it cannot be read. */
  open(path: string): Promise<ByteSource>;
  /** What a model in it is called, where that is not the end of `name`. */
  title?(): Promise<string>;
  /** For messages: how `has` knew that a file is not there. */
  absence?(path: string): string | undefined;
  /** Of weight files, in the order of preference; undefined stands for the plain ones. */
  readonly variants?: readonly (string | undefined)[];
  /** What the caller should know about how it was read. */
  readonly notes?: readonly string[];
  /** Ends what is under way. */
  close?(): Promise<void>;
}

/** Files below this are read whole: configurations, vocabularies. */
const MAX_TEXT_BYTES = 64 << 20;

/** One system call reads at most 2³¹ − 1 bytes. */
const MAX_READ_BYTES = 1 << 30;

const REASONS: Record<string, string> = {
  ENOENT: "found nothing there",
  ENOTDIR: "found nothing there",
  EISDIR: "found a folder",
  EACCES: "found that reading it is not permitted",
  EPERM: "found that reading it is not permitted",
};

function reason(error: unknown): string {
  const code = (error as { code?: string } | null)?.code ?? "";
  return REASONS[code] ?? `found ${quote(error instanceof Error ? error.message : String(error))}`;
}

function unreadable(name: string, expected: string, cause: unknown): CheckpointError {
  return new CheckpointError(`Cannot read ${quote(name)}: expected ${expected}, ${reason(cause)}`, { cause });
}

/** Bytes in memory, or a browser's File. Reads of a Uint8Array share its memory. */
export function memorySource(name: string, data: Uint8Array | Blob): ByteSource {
  const size = data instanceof Uint8Array ? data.length : data.size;
  return {
    name,
    size,
    async read(from, to) {
      checkRange(name, size, from, to);
      if (data instanceof Uint8Array) return data.subarray(from, to);
      try {
        return new Uint8Array(await data.slice(from, to).arrayBuffer());
      } catch (cause) {
        throw unreadable(name, `its bytes ${from} to ${to}`, cause);
      }
    },
    close: () => Promise.resolve(),
  };
}

/**
 * A local file, on any runtime that has `node:fs` (imported here and not at the top, so that browsers can load
 * this module).
 */
export async function fileSource(path: string): Promise<ByteSource> {
  const { open } = await import("node:fs/promises");
  let file: Awaited<ReturnType<typeof open>>;
  let size: number;
  try {
    file = await open(path, "r");
  } catch (cause) {
    throw unreadable(path, "a file", cause);
  }
  try {
    const stat = await file.stat();
    if (!stat.isFile()) {
      throw new CheckpointError(
        `Cannot read ${quote(path)}: expected a file, found ${stat.isDirectory() ? "a folder" : "a device"}`,
      );
    }
    size = stat.size;
  } catch (cause) {
    await file.close();
    throw cause instanceof CheckpointError ? cause : unreadable(path, "a file", cause);
  }
  return {
    name: path,
    size,
    async read(from, to) {
      checkRange(path, size, from, to);
      const data = allocate(path, to - from);
      let done = 0;
      try {
        while (done < data.length) {
          const { bytesRead } = await file.read(
            data,
            done,
            Math.min(data.length - done, MAX_READ_BYTES),
            from + done,
          );
          if (bytesRead === 0) break;
          done += bytesRead;
        }
      } catch (cause) {
        throw unreadable(path, `its bytes ${from} to ${to}`, cause);
      }
      if (done < data.length) {
        throw new CheckpointError(
          `Cannot read ${quote(path)}: expected ${size} bytes, found that it ends at ${from + done} now`,
        );
      }
      return data;
    },
    close: () => file.close(),
  };
}

/** A local folder. It is looked at when the first file is asked for. */
export function localFolder(path: string): FolderSource {
  const at = (file: string) => `${path.replace(/[/\\]+$/, "")}/${file}`;
  return {
    name: path,
    async title() {
      const { basename, resolve } = await import("node:path");
      return basename(resolve(path));
    },
    async kind() {
      const { stat } = await import("node:fs/promises");
      try {
        return (await stat(path)).isDirectory() ? "folder" : "file";
      } catch {
        return "nothing";
      }
    },
    async has(file) {
      const { stat } = await import("node:fs/promises");
      try {
        return (await stat(at(file))).isFile();
      } catch {
        return false;
      }
    },
    open: (file) => fileSource(at(file)),
  };
}

/** A folder of named files in memory, or of a browser's file picker. */
export function memoryFolder(name: string, files: ReadonlyMap<string, Uint8Array | Blob>): FolderSource {
  return {
    name,
    kind: () => Promise.resolve("folder"),
    has: (path) => Promise.resolve(files.has(path)),
    open(path) {
      const data = files.get(path);
      if (data !== undefined) return Promise.resolve(memorySource(`${name}/${path}`, data));
      return Promise.reject(
        new CheckpointError(`Cannot read ${quote(`${name}/${path}`)}: expected a file, found nothing there`),
      );
    },
  };
}

/** A whole small file as text. */
export async function readText(folder: FolderSource, path: string): Promise<string> {
  const source = await folder.open(path);
  try {
    if (source.size > MAX_TEXT_BYTES) {
      throw new CheckpointError(
        `Cannot read ${quote(source.name)}: expected at most ${MAX_TEXT_BYTES} bytes of text, ` +
          `found ${source.size}`,
      );
    }
    return decodeUtf8(await source.read(0, source.size));
  } catch (cause) {
    if (cause instanceof CheckpointError) throw cause;
    throw new CheckpointError(`Cannot read ${quote(source.name)}: expected UTF-8 text, found other bytes`, {
      cause,
    });
  } finally {
    await source.close();
  }
}

/** A whole small file as JSON. */
export async function readJson(folder: FolderSource, path: string): Promise<unknown> {
  const text = await readText(folder, path);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new CheckpointError(
      `Cannot read ${quote(`${folder.name}/${path}`)}: expected JSON, found ${
        quote((cause as Error).message)
      }`,
      { cause },
    );
  }
}

/** Strict: throws a `TypeError` on bytes that are not UTF-8, and keeps a byte order mark. */
export function decodeUtf8(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
}

function checkRange(name: string, size: number, from: number, to: number) {
  if (!(Number.isSafeInteger(from) && Number.isSafeInteger(to) && 0 <= from && from <= to && to <= size)) {
    throw new RangeError(`Cannot read ${quote(name)}: expected a range in 0..${size}, found ${from}..${to}`);
  }
}

function allocate(name: string, bytes: number): Uint8Array {
  try {
    return new Uint8Array(bytes);
  } catch (cause) {
    throw new CheckpointError(
      `Cannot read ${quote(name)}: expected room for ${bytes} bytes, found that memory has run out`,
      { cause },
    );
  }
}
