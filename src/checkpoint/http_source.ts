/**
 * A folder of files behind a URL. Files are read by byte range in chunks of some megabytes, a few of which stay
 * in memory; chunks go to a store, if there is one, from where they come the next time. A server without ranges
 * gives a file once, in order, and all of it is kept.
 *
 * @module
 */
import { AbortError, CheckpointError, quote } from "../errors.ts";
import { type ChunkStore, openStore, type StoreOptions, type Version } from "./chunk_store.ts";
import { Attempts, brokenOff, Http, type HttpOptions, type Reply } from "./http_request.ts";
import type { ByteSource, FolderSource } from "./source.ts";

/** How much of a file has arrived. */
export interface LoadProgress {
  /** The path in the model's folder. */
  file: string;
  /** Bytes. */
  loaded: number;
  /** Bytes; undefined where the server does not say. */
  total: number | undefined;
}

export interface HttpFolderOptions extends HttpOptions, StoreOptions {
  onProgress?: (progress: LoadProgress) => void;
  /** Bytes of one request; 8 MiB by default. */
  chunkBytes?: number;
  /** Bytes of the download that stay in memory for tensors that lie out of order; 64 MiB by default. */
  memoryBytes?: number;
  /** Of weight files, in the order of preference. */
  variants?: readonly (string | undefined)[];
  title?: string;
}

/** What the files of a folder share. */
interface Shared {
  readonly http: Http;
  readonly chunkBytes: number;
  readonly memory: ChunkMemory;
  readonly onProgress: ((progress: LoadProgress) => void) | undefined;
  readonly store: ChunkStore | undefined;
  /** Whether the store still takes chunks. */
  storing: boolean;
  note(text: string): void;
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

  const { store, note } = await openStore(options);
  const notes: string[] = note === undefined ? [] : [note];
  const shared: Shared = {
    http: new Http({ ...options, headers, signal: ended.signal }),
    chunkBytes,
    memory: new ChunkMemory(memoryBytes),
    onProgress,
    store,
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

/** The chunks used last. */
class ChunkMemory {
  readonly #chunks = new Map<string, Uint8Array>();
  #bytes = 0;

  constructor(readonly limit: number) {}

  get(key: string): Uint8Array | undefined {
    const data = this.#chunks.get(key);
    if (data) {
      this.#chunks.delete(key);
      this.#chunks.set(key, data);
    }
    return data;
  }

  set(key: string, data: Uint8Array): void {
    this.drop(key);
    this.#chunks.set(key, data);
    this.#bytes += data.length;
    for (const old of this.#chunks.keys()) {
      if (this.#bytes <= this.limit || old === key) break;
      this.drop(old);
    }
  }

  drop(key: string): void {
    this.#bytes -= this.#chunks.get(key)?.length ?? 0;
    this.#chunks.delete(key);
  }
}

/** A file whose size is known, and its version if the server names one. */
class HttpFile {
  readonly name: string;
  size = 0;
  #validator: string | undefined;
  /** Chunks on their way. */
  readonly #coming = new Map<number, Promise<Uint8Array>>();
  #stream: Stream | undefined;
  /** Bytes that have arrived, of every chunk. */
  readonly #arrived = new Map<number, number>();
  #loaded = 0;
  #reported = -1;

  private constructor(readonly path: string, readonly url: URL, readonly shared: Shared) {
    this.name = url.origin + url.pathname;
  }

  /** The file, or what was found instead of it. */
  static async open(path: string, url: URL, shared: Shared): Promise<HttpFile | string> {
    const file = new HttpFile(path, url, shared);
    return await file.#begin() ?? file;
  }

  async read(from: number, to: number): Promise<Uint8Array> {
    if (!(0 <= from && from <= to && to <= this.size)) {
      throw new RangeError(
        `Cannot read ${quote(this.name)}: expected a range in 0..${this.size}, found ${from}..${to}`,
      );
    }
    const { chunkBytes } = this.shared;
    const data = new Uint8Array(to - from);
    for (let at = from; at < to;) {
      const index = Math.floor(at / chunkBytes), start = index * chunkBytes;
      const part = (await this.#chunk(index)).subarray(at - start, to - start);
      data.set(part, at - from);
      at += part.length;
    }
    return data;
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#coming.values());
    await this.#stream?.reply?.close();
    this.#stream = undefined;
    for (const index of this.#arrived.keys()) this.shared.memory.drop(this.#key(index));
  }

  /** Learns size and version, from the first chunk if need be. Gives what was found if there is no file. */
  async #begin(): Promise<string | undefined> {
    const { store, http, chunkBytes } = this.shared;
    const attempts = new Attempts(this.name, http);
    const stored = await store?.version(this.url.href).catch(() => undefined);
    if (stored) {
      const reply = await attempts.run(() => http.send(this.url, { method: "HEAD" }));
      await reply.close();
      if (isAbsent(reply)) return `HTTP status ${reply.status}`;
      const same = reply.status === 200 && validatorOf(reply) === stored.validator &&
        [undefined, stored.size].includes(lengthOf(reply));
      if (same) {
        this.size = stored.size;
        this.#validator = stored.validator;
        return;
      }
    }
    return await attempts.run(async () => {
      const reply = await http.send(this.url, { from: 0, to: chunkBytes });
      try {
        if (isAbsent(reply)) return `HTTP status ${reply.status}`;
        if (reply.status === 416 && rangeOf(reply)?.total === 0) return;
        if (reply.status !== 206 && reply.status !== 200) {
          const hint = reply.status === 401 ? "; a private model needs a token" : "";
          throw this.#error("a file", `HTTP status ${reply.status}${hint}`);
        }
        if (/^text\/html\b/.test(reply.headers.get("content-type") ?? "")) return "a web page (text/html)";
        this.#validator = validatorOf(reply);
        const size = reply.status === 200 ? lengthOf(reply) : rangeOf(reply)?.total ?? await this.#askSize();
        this.size = size ?? Infinity;
        await this.#beginStoring();
        if (reply.status === 206) await this.#fetch(0, reply);
        else {
          this.#stream = { reply, at: 0, chunk: undefined, kept: new Map(), last: Promise.resolve() };
          if (size === undefined) {
            await this.#inTurn(this.#stream, (stream) => this.#advance(stream, Infinity));
          }
        }
      } finally {
        if (this.#stream?.reply !== reply) await reply.close();
      }
    });
  }

  /** Pages of other origins are not shown Content-Range, but Content-Length. */
  async #askSize(): Promise<number> {
    const reply = await this.shared.http.send(this.url, { method: "HEAD" });
    await reply.close();
    const size = lengthOf(reply);
    if (reply.status === 200 && size !== undefined) return size;
    throw this.#error("an answer with Content-Range or Content-Length", "neither");
  }

  async #chunk(index: number): Promise<Uint8Array> {
    const known = this.shared.memory.get(this.#key(index));
    const chunk = known ? undefined : this.#coming.get(index) ?? this.#start(index);
    const { chunkBytes, memory } = this.shared, next = index + 1;
    const ahead = !this.#stream && next * chunkBytes < this.size && !this.#arrived.has(next) &&
      !this.#coming.has(next) && (this.#coming.size + 2) * chunkBytes <= memory.limit;
    if (ahead && this.#coming.size < 3) void this.#start(next);
    return known ?? await chunk!;
  }

  #start(index: number): Promise<Uint8Array> {
    const coming = this.#load(index).finally(() => this.#coming.delete(index));
    coming.catch(() => undefined); // it may be one that nobody asked for yet, and comes again when somebody does
    this.#coming.set(index, coming);
    return coming;
  }

  async #load(index: number): Promise<Uint8Array> {
    if (this.shared.http.signal?.aborted) throw new AbortError(`Stopped while reading ${this.name}`);
    const stored = await this.#stored(index);
    if (stored) return stored;
    const fetched = this.#stream ? undefined : await this.#fetch(index);
    return fetched ?? await this.#streamed(index);
  }

  async #stored(index: number): Promise<Uint8Array | undefined> {
    const { memory, store } = this.shared;
    const length = this.#length(index), version = this.#version();
    const data = version &&
      await store!.get(this.url.href, version, { index, length }).catch(() => undefined);
    if (data) {
      memory.set(this.#key(index), data);
      this.#arrive(index, length);
    }
    return data;
  }

  /** One chunk by byte range; undefined if the server gave the whole file instead. */
  async #fetch(index: number, first?: Reply): Promise<Uint8Array | undefined> {
    const { http, chunkBytes } = this.shared;
    const attempts = new Attempts(this.name, http);
    const from = index * chunkBytes, data = new Uint8Array(this.#length(index));
    let reply = first;
    for (let done = 0; done < data.length;) {
      const whole = await attempts.run(async () => {
        const at = from + done, to = from + data.length;
        const answer = reply ?? await http.send(this.url, { from: at, to });
        reply = undefined;
        if (answer.status === 200 && !this.#stream) {
          this.#checkVersion(answer, lengthOf(answer));
          this.#stream = { reply: answer, at: 0, chunk: undefined, kept: new Map(), last: Promise.resolve() };
          return true;
        }
        try {
          if (answer.status === 200) return true;
          if (answer.status !== 206) {
            throw this.#error("the rest of the file", `HTTP status ${answer.status}`);
          }
          const range = rangeOf(answer);
          this.#checkVersion(answer, range?.total);
          // The first request of a file asks for a whole chunk, whatever its size.
          const end = range ? range.to : at + (lengthOf(answer) ?? to - at);
          if (range && range.from !== at || end > to) {
            throw this.#error(`bytes ${at} to ${to}`, `bytes ${range?.from ?? at} to ${end}`);
          }
          for (;;) {
            const piece = await answer.read();
            if (!piece) break;
            if (from + done + piece.length > end) throw this.#error(`${end - at} bytes`, "more");
            data.set(piece, done);
            done += piece.length;
            attempts.received(piece.length);
            this.#arrive(index, done);
          }
          if (from + done < end || end === at) throw brokenOff(from + done - at, end - at);
        } finally {
          await answer.close();
        }
        return false;
      });
      if (whole) return undefined;
    }
    await this.#keep(index, data);
    return data;
  }

  /** One chunk of a file that comes in order. */
  async #streamed(index: number): Promise<Uint8Array> {
    const { chunkBytes, memory } = this.shared;
    return await this.#inTurn(this.#stream!, async (stream) => {
      for (;;) {
        const found = stream.kept.get(index) ?? memory.get(this.#key(index)) ?? await this.#stored(index);
        if (found) return found;
        if (stream.at > index * chunkBytes) { // the store took it and lost it: from the beginning, without
          this.#stopStoring(new Error("the cache lost what it took"));
          await stream.reply?.close();
          stream.reply = stream.chunk = undefined;
          stream.at = 0;
        }
        await this.#advance(stream, (index + 1) * chunkBytes);
      }
    });
  }

  async #inTurn<T>(stream: Stream, body: (stream: Stream) => Promise<T>): Promise<T> {
    const turn = stream.last.then(() => body(stream));
    stream.last = turn.catch(() => undefined);
    return await turn;
  }

  /** Reads on to byte `to` or the end. After a broken connection what is there already is read again. */
  async #advance(stream: Stream, to: number): Promise<void> {
    const { http, chunkBytes } = this.shared;
    const attempts = new Attempts(this.name, http);
    await attempts.run(async () => {
      let skip = 0;
      if (!stream.reply) {
        const reply = await http.send(this.url);
        if (reply.status !== 200) {
          await reply.close();
          throw this.#error("the file again", `HTTP status ${reply.status}`);
        }
        this.#checkVersion(reply, lengthOf(reply));
        stream.reply = reply;
        skip = stream.at;
      }
      try {
        while (stream.at < Math.min(to, this.size)) {
          let piece = await stream.reply.read();
          if (!piece) {
            if (this.size !== Infinity || skip > 0) throw brokenOff(stream.at - skip, this.size);
            this.size = stream.at;
            if (stream.chunk) {
              await this.#keep(
                Math.floor(stream.at / chunkBytes),
                stream.chunk.slice(0, stream.at % chunkBytes),
              );
            }
            break;
          }
          const skipped = Math.min(skip, piece.length);
          skip -= skipped;
          piece = piece.subarray(skipped);
          attempts.received(piece.length);
          while (piece.length > 0) {
            const index = Math.floor(stream.at / chunkBytes), within = stream.at % chunkBytes;
            if (stream.at >= this.size) throw this.#error(`${this.size} bytes`, "more");
            stream.chunk ??= new Uint8Array(this.#length(index));
            const part = piece.subarray(0, stream.chunk.length - within);
            stream.chunk.set(part, within);
            stream.at += part.length;
            this.#arrive(index, within + part.length);
            piece = piece.subarray(part.length);
            if (within + part.length === stream.chunk.length) {
              await this.#keep(index, stream.chunk);
              stream.chunk = undefined;
            }
          }
        }
      } catch (error) {
        await stream.reply.close();
        stream.reply = undefined;
        throw error;
      }
    });
  }

  async #keep(index: number, data: Uint8Array): Promise<void> {
    const { shared } = this;
    shared.memory.set(this.#key(index), data);
    const version = this.#version();
    if (version && shared.storing) {
      try {
        return await shared.store!.put(this.url.href, version, { index, data });
      } catch (error) {
        this.#stopStoring(error);
      }
    }
    this.#stream?.kept.set(index, data);
  }

  #version(): Version | undefined {
    const { size, shared: { store } } = this, validator = this.#validator;
    return store && validator !== undefined && size !== Infinity ? { size, validator } : undefined;
  }

  async #beginStoring(): Promise<void> {
    const { shared } = this, version = this.#version();
    if (!shared.storing) return;
    if (!version) {
      const lack = this.#validator === undefined ? "neither ETag nor Last-Modified" : "no Content-Length";
      return shared.note(`${this.path} is not cached: its server gives ${lack}`);
    }
    try {
      await shared.store!.begin(this.url.href, version);
    } catch (error) {
      this.#stopStoring(error);
    }
  }

  #stopStoring(error: unknown): void {
    this.shared.storing = false;
    this.shared.note(`the model is not cached in full: ${(error as Error).message || (error as Error).name}`);
  }

  /** All answers must be of one version of the file. */
  #checkVersion(reply: Reply, size: number | undefined): void {
    const validator = validatorOf(reply);
    if (size !== undefined && this.size !== Infinity && size !== this.size) {
      throw this.#error(`the file of ${this.size} bytes that was begun`, `one of ${size} bytes now`);
    }
    if (validator !== undefined && this.#validator !== undefined && validator !== this.#validator) {
      throw this.#error(
        "the version of the file that was begun",
        "another now: it has changed on the server",
      );
    }
  }

  #error(expected: string, found: string): CheckpointError {
    return new CheckpointError(`Cannot read ${quote(this.name)}: expected ${expected}, found ${found}`);
  }

  #length(index: number): number {
    return Math.min(this.shared.chunkBytes, this.size - index * this.shared.chunkBytes);
  }

  #key(index: number): string {
    return `${this.url}#${index}`;
  }

  /** Reports every hundredth of the file and its end, but no less than 64 KiB. */
  #arrive(index: number, bytes: number): void {
    const before = this.#arrived.get(index) ?? 0;
    if (bytes <= before) return;
    this.#arrived.set(index, bytes);
    this.#loaded += bytes - before;
    const { onProgress } = this.shared, total = this.size === Infinity ? undefined : this.size;
    const step = Math.max(65536, (total ?? 0) / 100);
    if (this.#loaded !== total && this.#loaded - this.#reported < step) return;
    this.#reported = this.#loaded;
    onProgress?.({ file: this.path, loaded: this.#loaded, total });
  }
}

/** A file that comes in order, from a server without ranges. */
interface Stream {
  /** Undefined after a broken connection. */
  reply: Reply | undefined;
  /** Bytes that were taken from it. */
  at: number;
  /** The chunk that `at` lies in. */
  chunk: Uint8Array | undefined;
  /** Chunks that no store took: they come but once. */
  readonly kept: Map<number, Uint8Array>;
  /** Its readers take turns. */
  last: Promise<unknown>;
}

/** A bucket that does not list its contents says 403 where there is nothing. */
function isAbsent({ status }: Reply): boolean {
  return status === 404 || status === 410 || status === 403;
}

/** A weak ETag and a strong one of the same text are one version: a proxy may turn one into the other. */
function validatorOf({ headers }: Reply): string | undefined {
  return headers.get("etag")?.replace(/^W\//, "") ?? headers.get("last-modified") ?? undefined;
}

/** Bytes of the body; undefined if it was compressed on the way, or nobody says. */
function lengthOf({ headers }: Reply): number | undefined {
  const length = headers.get("content-length"), encoding = headers.get("content-encoding") ?? "identity";
  return length === null || encoding !== "identity" || !/^\d+$/.test(length) ? undefined : Number(length);
}

/** `to` is exclusive. */
function rangeOf({ headers }: Reply): { from: number; to: number; total: number | undefined } | undefined {
  const match = /^bytes (?:(\d+)-(\d+)|\*)\/(\d+|\*)$/.exec(headers.get("content-range") ?? "");
  if (!match) return undefined;
  const [, from = "0", last = "-1", total] = match;
  return { from: Number(from), to: Number(last) + 1, total: total === "*" ? undefined : Number(total) };
}
