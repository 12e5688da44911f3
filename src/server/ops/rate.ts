import { HttpError } from "../errors.ts";

/** Pictures per minute and client: a bucket that fills at a steady pace and holds a minute's worth. */
export class PictureRate {
  readonly #buckets = new Map<string, { left: number; at: number }>();

  constructor(private readonly perMinute: number, private readonly now: () => number = Date.now) {}

  /** Throws an `HttpError` 429 when the client has had its share. */
  take(client: string, pictures: number): void {
    const now = this.now(), cost = Math.min(pictures, this.perMinute); // more than that needs a full bucket
    const bucket = this.#buckets.get(client) ?? { left: this.perMinute, at: now };
    const left = Math.min(this.perMinute, bucket.left + (now - bucket.at) / 60_000 * this.perMinute);
    if (left < cost) {
      const seconds = Math.max(
        1,
        Math.ceil((cost - left) * 60 / this.perMinute),
      );
      throw new HttpError(
        429,
        `Too many pictures: expected at most ${this.perMinute} a minute; try again in ${seconds} s`,
        { code: "rate_limit_exceeded", headers: { "retry-after": String(seconds) } },
      );
    }
    this.#buckets.delete(client); // so that the map is ordered by age
    this.#buckets.set(client, { left: left - cost, at: now });
    for (const [name, { at }] of this.#buckets) {
      if (now - at < 60_000) break; // younger ones follow; older ones are full again
      this.#buckets.delete(name);
    }
  }
}
