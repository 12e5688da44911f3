/**
 * One file behind a URL: its size and version, its chunks, and where they are kept.
 *
 * @module
 */
import { AbortError, CheckpointError, quote } from "../errors.ts";
import type { ChunkMemory } from "./chunk_memory.ts";
import type { ChunkStore, Version } from "./chunk_store.ts";
import { isAbsent, lengthOf, rangeOf, validatorOf } from "./http_headers.ts";
import { InOrder } from "./http_in_order.ts";
import { Attempts, brokenOff, type Http, nameOf, type Reply } from "./http_request.ts";

/** How much of a file has arrived. */
export interface LoadProgress {
  /** The path in the model's folder. */
  file: string;
  /** Bytes. */
  loaded: number;
  /** Bytes; undefined where the server does not say. */
  total: number | undefined;
}

/** What the files of a folder share. */
export interface Shared {
  readonly http: Http;
  readonly chunkBytes: number;
  readonly memory: ChunkMemory;
  readonly onProgress: ((progress: LoadProgress) => void) | undefined;
  readonly store: ChunkStore | undefined;
  /** Whether the store still takes chunks. */
  storing: boolean;
  /** Whether the server did not answer where the store could: it is asked for nothing more that is stored. */
  offline: boolean;
  note(text: string): void;
}

/** A file whose size is known, and its version if the server names one. */
export class HttpFile {
  readonly name: string;
  size = 0;
  #validator: string | undefined;
  /** Chunks on their way. */
  readonly #coming = new Map<number, Promise<Uint8Array>>();
  /** Once the server has shown that it knows no ranges. */
  #inOrder: InOrder | undefined;
  /** Bytes that have arrived, of every chunk. */
  readonly #arrived = new Map<number, number>();
  #loaded = 0;
  #reported = -1;

  private constructor(readonly path: string, readonly url: URL, readonly shared: Shared) {
    this.name = nameOf(url);
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
    await this.#inOrder?.close();
    for (const index of this.#arrived.keys()) this.shared.memory.drop(this.#key(index));
  }

  /** Learns size and version, from the first chunk if need be. Gives what was found if there is no file. */
  async #begin(): Promise<string | undefined> {
    const { store, http, chunkBytes } = this.shared;
    const attempts = new Attempts(this.name, http);
    const stored = await store?.version(this.url.href).catch(() => undefined);
    if (this.shared.offline && !stored) return "nothing in the cache, and a server that does not answer";
    if (stored) {
      const reply = this.shared.offline ? undefined : await this.#askVersion(attempts);
      if (reply && isAbsent(reply)) return `HTTP status ${reply.status}`;
      const same = reply?.status === 200 && validatorOf(reply) === stored.validator &&
        [undefined, stored.size].includes(lengthOf(reply));
      if (same || !reply) {
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
          this.#inOrder = this.#readInOrder(reply);
          if (size === undefined) await this.#inOrder.toEnd();
        }
      } finally {
        if (!this.#inOrder) await reply.close();
      }
    });
  }

  /** Undefined if the server does not answer. */
  async #askVersion(attempts: Attempts): Promise<Reply | undefined> {
    const { shared } = this;
    try {
      const reply = await attempts.run(() => shared.http.send(this.url, { method: "HEAD" }));
      await reply.close();
      return reply;
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error;
      shared.offline = true;
      shared.note(`the model comes from the cache as it is there: ${error.message}`);
    }
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
    const ahead = !this.#inOrder && next * chunkBytes < this.size && !this.#arrived.has(next) &&
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
    const fetched = this.#inOrder ? undefined : await this.#fetch(index);
    return fetched ?? await this.#inOrder!.chunk(index);
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
        if (answer.status === 200 && !this.#inOrder) {
          this.#checkVersion(answer, lengthOf(answer));
          this.#inOrder = this.#readInOrder(answer);
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
    this.#inOrder?.kept.set(index, data);
  }

  #readInOrder(reply: Reply): InOrder {
    return new InOrder(reply, {
      name: this.name,
      url: this.url,
      http: this.shared.http,
      chunkBytes: this.shared.chunkBytes,
      size: () => this.size,
      ends: (size) => this.size = size,
      find: async (index) => this.shared.memory.get(this.#key(index)) ?? await this.#stored(index),
      arrive: (index, bytes) => this.#arrive(index, bytes),
      keep: (index, data) => this.#keep(index, data),
      lost: () => this.#stopStoring(new Error("the cache lost what it took")),
      check: (reply) => this.#checkVersion(reply, lengthOf(reply)),
      error: (expected, found) => this.#error(expected, found),
    });
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
      return shared.note(`the model is not cached in full: its server gives ${lack}`);
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
