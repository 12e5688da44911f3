/**
 * HTTP requests that are tried again when the network or the server fails, and answers that are read piece by
 * piece.
 *
 * @module
 */
import { AbortError, CheckpointError, quote } from "../errors.ts";
import { inBrowser } from "./place.ts";

export interface HttpOptions {
  /** Sent with every request, such as `authorization`. A redirect to another origin does not get it. */
  headers?: Record<string, string>;
  /** Stops everything under way with an `AbortError`. */
  signal?: AbortSignal;
  /** How often a request is tried that makes no progress; 5 by default. */
  attempts?: number;
  /** Milliseconds before the second attempt, doubled for each after it; 250 by default. */
  delay?: number;
  /** Milliseconds without a byte after which an attempt counts as failed; 30 000 by default. */
  stall?: number;
}

/** Bytes of an answer after which a broken connection is a new one's first failure. */
const PROGRESS_BYTES = 65536;
/** A browser's own cache would answer for a server without asking it, and keep all of it a second time. */
const HTTP_CACHE: RequestInit = inBrowser ? { cache: "no-store" } : {};
/** The longest wait that a server's `Retry-After` gets. */
const MAX_RETRY_AFTER = 30_000;

/** An attempt that failed and may be made again. */
class Failure extends Error {
  constructor(message: string, readonly wait = 0, readonly final = false) {
    super(message);
  }
}

/** Counts the attempts at one thing. */
export class Attempts {
  #left: number;
  #made = 0;
  #bytes = 0;

  constructor(readonly name: string, readonly http: Http) {
    this.#left = http.attempts;
  }

  /** Runs `body` until it gives a value. Only failures of the network and the server are tried again. */
  async run<T>(body: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await body();
      } catch (error) {
        if (this.http.signal?.aborted) throw new AbortError(`Stopped while reading ${this.name}`);
        if (!(error instanceof Failure)) throw error;
        this.#made++;
        if (error.final || --this.#left <= 0) {
          const times = this.#made > 1 ? ` after ${this.#made} attempts` : "";
          throw new CheckpointError(
            `Cannot read ${quote(this.name)}: expected a file, found ${error.message}${times}`,
            { cause: error },
          );
        }
        const backoff = this.http.delay * 2 ** (this.http.attempts - this.#left - 1);
        await this.http.sleep(Math.max(backoff, error.wait));
      }
    }
  }

  /** What arrives counts: a connection that breaks every few megabytes is slow, not dead. */
  received(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < PROGRESS_BYTES) return;
    this.#bytes = 0;
    this.#left = this.http.attempts;
  }
}

/** The requests of one folder. */
export class Http {
  readonly attempts: number;
  readonly delay: number;
  readonly signal: AbortSignal | undefined;
  readonly #headers: Record<string, string>;
  readonly #stall: number;

  constructor({ headers = {}, signal, attempts = 5, delay = 250, stall = 30_000 }: HttpOptions) {
    // Byte ranges and lengths are those of the file itself. Browsers see to this, and ignore the header.
    this.#headers = { ...headers, "accept-encoding": "identity" };
    this.signal = signal;
    this.attempts = attempts;
    this.delay = delay;
    this.#stall = stall;
  }

  /**
   * One attempt. Gives answers of any status but those that say "later"; throws what `Attempts` tries again.
   */
  async send(
    url: URL,
    { method = "GET", from, to }: { method?: "GET" | "HEAD"; from?: number; to?: number } = {},
  ) {
    if (this.signal?.aborted) throw new AbortError(`Stopped while reading ${nameOf(url)}`);
    const controller = new AbortController();
    const abort = () => controller.abort();
    this.signal?.addEventListener("abort", abort, { once: true });
    const end = () => this.signal?.removeEventListener("abort", abort);
    const headers = from === undefined
      ? this.#headers
      : { ...this.#headers, range: `bytes=${from}-${to! - 1}` };
    try {
      const response = await this.#inTime(
        fetch(url, { method, headers, signal: controller.signal, ...HTTP_CACHE }),
        controller,
      );
      if (url.protocol === "https:" && response.url.startsWith("http:")) {
        throw new CheckpointError(
          `Cannot read ${quote(nameOf(url))}: expected https, found a redirect to http`,
        );
      }
      if (
        response.status >= 500 && response.status !== 501 || response.status === 429 ||
        response.status === 408
      ) {
        controller.abort();
        throw new Failure(`HTTP status ${response.status}`, retryAfter(response));
      }
      return new Reply(response, {
        end: (early) => {
          end();
          if (early) controller.abort();
        },
        inTime: (promise) => this.#inTime(promise, controller),
      });
    } catch (error) {
      end();
      if (error instanceof Failure || error instanceof CheckpointError || this.signal?.aborted) throw error;
      throw await unreachable(url, error);
    }
  }

  async sleep(milliseconds: number): Promise<void> {
    const { signal } = this;
    await new Promise<void>((resolve) => {
      const end = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", end);
        resolve();
      };
      const timer = setTimeout(end, milliseconds);
      signal?.addEventListener("abort", end, { once: true });
    });
    if (signal?.aborted) throw new AbortError();
  }

  async #inTime<T>(promise: Promise<T>, controller: AbortController): Promise<T> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      controller.abort();
    }, this.#stall);
    try {
      return await promise;
    } catch (error) {
      throw late ? new Failure(`no answer for ${this.#stall / 1000} s`) : error;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Without what may be secret: its query. */
export function nameOf({ origin, pathname }: URL): string {
  return origin + pathname;
}

interface Hooks {
  /** `early`: the rest is not wanted. */
  end(early: boolean): void;
  /** Fails where nothing comes for long. */
  inTime<T>(promise: Promise<T>): Promise<T>;
}

/** An answer whose body is read piece by piece. */
export class Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  readonly #hooks: Hooks;
  #ended: boolean;

  constructor(response: Response, hooks: Hooks) {
    this.status = response.status;
    this.headers = response.headers;
    this.#reader = decoded(response)?.getReader();
    this.#ended = !this.#reader;
    this.#hooks = hooks;
  }

  /** The next bytes; undefined at the end. */
  async read(): Promise<Uint8Array | undefined> {
    if (!this.#reader) return undefined;
    try {
      const { value, done } = await this.#hooks.inTime(this.#reader.read());
      this.#ended ||= done;
      return value;
    } catch (error) {
      throw error instanceof Failure ? error : new Failure(`a broken connection (${reasonOf(error)})`);
    }
  }

  async close(): Promise<void> {
    if (!this.#ended) await this.#reader!.cancel().catch(() => undefined);
    this.#hooks.end(!this.#ended);
    this.#ended = true;
  }
}

/** An answer that ended too soon. */
export function brokenOff(found: number, expected: number): Error {
  return new Failure(`an answer of ${found} bytes instead of ${expected}`);
}

/** Deno leaves a compressed answer as it is where no compression was asked for. */
function decoded({ body, headers }: Response): ReadableStream<Uint8Array> | null {
  const encoding = headers.get("content-encoding");
  if (!("Deno" in globalThis) || !body || (encoding !== "gzip" && encoding !== "deflate")) return body;
  return body.pipeThrough(new DecompressionStream(encoding) as ReadableWritablePair<Uint8Array, Uint8Array>);
}

function retryAfter(response: Response): number {
  const value = response.headers.get("retry-after");
  if (value === null) return 0;
  const wait = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(wait) ? Math.min(Math.max(wait, 0), MAX_RETRY_AFTER) : 0;
}

/** A browser says no more than "Failed to fetch" where a server does not let a page's origin in. */
async function unreachable(url: URL, error: unknown): Promise<Failure> {
  const name = (error as Error | null)?.name ?? "";
  if (name === "NotCapable" || name === "PermissionDenied") return new Failure(reasonOf(error), 0, true);
  const { origin } = globalThis as { origin?: string };
  if (inBrowser && origin && origin !== url.origin) {
    const letIn = `"Access-Control-Allow-Origin: ${origin}" (or *)`;
    try {
      await fetch(url, { method: "HEAD", mode: "no-cors" });
    } catch {
      // It cannot be reached; or it can, but a page that is cross-origin isolated may not even ask.
      return new Failure(`that ${url.host} cannot be reached, or does not answer with the header ${letIn}`);
    }
    const reason =
      `that ${url.host} does not let pages of ${origin} read it: it must answer with the header `;
    return new Failure(reason + letIn, 0, true);
  }
  return new Failure(`that the request failed (${reasonOf(error)})`);
}

/** Node hides the reason in `cause`. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause instanceof Error && error.cause.message ? `: ${error.cause.message}` : "";
  return (error.message + cause).replace(/\s+/g, " ");
}
