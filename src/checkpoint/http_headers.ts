/**
 * What an answer's head says of the file behind it.
 *
 * @module
 */

interface Answer {
  readonly status: number;
  readonly headers: Headers;
}

/** A bucket that does not list its contents says 403 where there is nothing. */
export function isAbsent({ status }: Answer): boolean {
  return status === 404 || status === 410 || status === 403;
}

/** A weak ETag and a strong one of the same text are one version: a proxy may turn one into the other. */
export function validatorOf({ headers }: Answer): string | undefined {
  return headers.get("etag")?.replace(/^W\//, "") ?? headers.get("last-modified") ?? undefined;
}

/** Bytes of the body; undefined if it was compressed on the way, or nobody says. */
export function lengthOf({ headers }: Answer): number | undefined {
  const length = headers.get("content-length"), encoding = headers.get("content-encoding") ?? "identity";
  return length === null || encoding !== "identity" || !/^\d+$/.test(length) ? undefined : Number(length);
}

/** `to` is exclusive. */
export function rangeOf(
  { headers }: Answer,
): { from: number; to: number; total: number | undefined } | undefined {
  const match = /^bytes (?:(\d+)-(\d+)|\*)\/(\d+|\*)$/.exec(headers.get("content-range") ?? "");
  if (!match) return undefined;
  const [, from = "0", last = "-1", total] = match;
  return { from: Number(from), to: Number(last) + 1, total: total === "*" ? undefined : Number(total) };
}
