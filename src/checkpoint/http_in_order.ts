/**
 * A file from a server without ranges: it comes once, in order.
 *
 * @module
 */
import { Attempts, brokenOff, type Http, type Reply } from "./http_request.ts";

/** The file that is read, as far as this needs it. */
export interface Target {
  readonly name: string;
  readonly url: URL;
  readonly http: Http;
  readonly chunkBytes: number;
  /** Infinity as long as nobody has said. */
  size(): number;
  ends(size: number): void;
  /** A chunk in memory or in the store. */
  find(index: number): Promise<Uint8Array | undefined>;
  arrive(index: number, bytes: number): void;
  /** Puts a chunk into memory and into the store, or into `kept` where there is no store. */
  keep(index: number, data: Uint8Array): Promise<void>;
  /** The store has not what it was given. */
  lost(): void;
  /** That a new answer is of the same version. */
  check(reply: Reply): void;
  error(expected: string, found: string): Error;
}

export class InOrder {
  /** Chunks that no store took: they come but once. */
  readonly kept = new Map<number, Uint8Array>();
  readonly #target: Target;
  /** Undefined after a broken connection. */
  #reply: Reply | undefined;
  /** Bytes that were taken from it. */
  #at = 0;
  /** The chunk that `#at` lies in. */
  #chunk: Uint8Array | undefined;
  /** Readers take turns. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(reply: Reply, target: Target) {
    this.#reply = reply;
    this.#target = target;
  }

  chunk(index: number): Promise<Uint8Array> {
    const target = this.#target;
    return this.#inTurn(async () => {
      for (;;) {
        const found = this.kept.get(index) ?? await target.find(index);
        if (found) return found;
        if (this.#at > index * target.chunkBytes) { // from the beginning, and without the store
          target.lost();
          await this.close();
          this.#chunk = undefined;
          this.#at = 0;
        }
        await this.#advance((index + 1) * target.chunkBytes);
      }
    });
  }

  /** Reads all of it, to learn its size. */
  toEnd(): Promise<void> {
    return this.#inTurn(() => this.#advance(Infinity));
  }

  async close(): Promise<void> {
    await this.#reply?.close();
    this.#reply = undefined;
  }

  async #inTurn<T>(body: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(body);
    this.#last = turn.catch(() => undefined);
    return await turn;
  }

  /** Reads on to byte `to` or the end. After a broken connection, what is there already comes again. */
  async #advance(to: number): Promise<void> {
    const target = this.#target;
    const attempts = new Attempts(target.name, target.http);
    await attempts.run(async () => {
      let skip = 0;
      if (!this.#reply) {
        const reply = this.#reply = await target.http.send(target.url);
        skip = this.#at;
        if (reply.status !== 200) {
          await this.close();
          throw target.error("the file again", `HTTP status ${reply.status}`);
        }
        target.check(reply);
      }
      try {
        while (this.#at < Math.min(to, target.size())) {
          const piece = await this.#reply.read();
          if (!piece) {
            if (target.size() !== Infinity || skip > 0) throw brokenOff(this.#at - skip, target.size());
            return await this.#end();
          }
          const skipped = Math.min(skip, piece.length);
          skip -= skipped;
          attempts.received(piece.length - skipped);
          await this.#take(piece.subarray(skipped));
        }
      } catch (error) {
        await this.close();
        throw error;
      }
    });
  }

  async #take(piece: Uint8Array): Promise<void> {
    const { chunkBytes, size, ...target } = this.#target;
    for (let rest = piece; rest.length > 0;) {
      const index = Math.floor(this.#at / chunkBytes), within = this.#at % chunkBytes;
      if (this.#at >= size()) throw target.error(`${size()} bytes`, "more");
      this.#chunk ??= new Uint8Array(Math.min(chunkBytes, size() - this.#at));
      const part = rest.subarray(0, this.#chunk.length - within);
      this.#chunk.set(part, within);
      this.#at += part.length;
      rest = rest.subarray(part.length);
      target.arrive(index, within + part.length);
      if (within + part.length === this.#chunk.length) {
        await target.keep(index, this.#chunk);
        this.#chunk = undefined;
      }
    }
  }

  async #end(): Promise<void> {
    const target = this.#target;
    target.ends(this.#at);
    if (!this.#chunk) return;
    const within = this.#at % target.chunkBytes;
    await target.keep(Math.floor(this.#at / target.chunkBytes), this.#chunk.slice(0, within));
  }
}
