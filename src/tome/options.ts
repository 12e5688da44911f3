/**
 * What to merge: tomesd's options, camel-cased.
 *
 * @module
 */

/**
 * Options of token merging. Names, meanings and defaults are those of tomesd's `apply_patch`.
 *
 * @example
 * ```ts
 * import { loadPipeline, type TokenMergingOptions } from "tome-edge";
 *
 * const tokenMerging: TokenMergingOptions = { ratio: 0.6, sx: 2, sy: 2, maxDownsample: 2, mergeMlp: true };
 * const pipe = await loadPipeline();
 * await pipe.generate({ prompt: "a red apple", width: 64, height: 64, steps: 2, tokenMerging });
 * await pipe.dispose();
 * ```
 */
export interface TokenMergingOptions {
  /** Share of a layer's tokens to merge away, 0 (nothing) to 1 − 1/(sx·sy); 0.5 by default. */
  ratio?: number;
  /** Layers down-sampled by more than this take no part: 1 (default), 2, 4 or 8. */
  maxDownsample?: 1 | 2 | 4 | 8;
  /** Width of the cells that hold one destination each; 2 by default. Need not divide the image. */
  sx?: number;
  /** Height of those cells; 2 by default. */
  sy?: number;
  /** Draws the destination within each cell (default); otherwise it is the top left token. */
  useRand?: boolean;
  /** Merges around self-attention; on by default. */
  mergeAttn?: boolean;
  /** Merges around cross-attention; off by default. */
  mergeCrossAttn?: boolean;
  /** Merges around the feed-forward layers; off by default. */
  mergeMlp?: boolean;
  /**
   * Who shares a draw. `image` (default): both guidance halves of an image, so that an image comes out the same
   * alone and in a batch. `tomesd`: the whole batch, and as in tomesd nothing is drawn when the batch is odd.
   */
  randomness?: "image" | "tomesd";
}

const DEFAULTS: Required<TokenMergingOptions> = {
  ratio: 0.5,
  maxDownsample: 1,
  sx: 2,
  sy: 2,
  useRand: true,
  mergeAttn: true,
  mergeCrossAttn: false,
  mergeMlp: false,
  randomness: "image",
};

/** Largest ratio with these cells: all but the destinations. */
export function maxRatio({ sx, sy }: { sx: number; sy: number }): number {
  return 1 - 1 / (sx * sy);
}

/**
 * Fills in the defaults and returns a frozen copy.
 *
 * @throws {TypeError} for an unknown option or the wrong kind of value.
 * @throws {RangeError} for a value out of range; a ratio above the reachable one names the maximum.
 */
export function checkTokenMerging(options: TokenMergingOptions): Readonly<Required<TokenMergingOptions>> {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw new TypeError(`Cannot use tokenMerging: expected an object of options, found ${show(options)}`);
  }
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(DEFAULTS, name)) {
      throw new TypeError(
        `Cannot use tokenMerging: expected options among ${
          Object.keys(DEFAULTS).join(", ")
        }, found "${name}"`,
      );
    }
  }
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const all: Required<TokenMergingOptions> = { ...DEFAULTS, ...Object.fromEntries(given) };

  for (const name of ["useRand", "mergeAttn", "mergeCrossAttn", "mergeMlp"] as const) {
    if (typeof all[name] !== "boolean") fail(TypeError, name, "true or false", all[name]);
  }
  for (const name of ["ratio", "sx", "sy", "maxDownsample"] as const) {
    if (typeof all[name] !== "number") fail(TypeError, name, "a number", all[name]);
  }
  for (const name of ["sx", "sy"] as const) {
    if (!(Number.isSafeInteger(all[name]) && all[name] >= 1)) {
      fail(RangeError, name, "an integer of at least 1", all[name]);
    }
  }
  if (![1, 2, 4, 8].includes(all.maxDownsample)) {
    fail(RangeError, "maxDownsample", "1, 2, 4 or 8", all.maxDownsample);
  }
  if (all.randomness !== "image" && all.randomness !== "tomesd") {
    const kind = typeof all.randomness === "string" ? RangeError : TypeError;
    fail(kind, "randomness", `"image" or "tomesd"`, all.randomness);
  }
  const most = maxRatio(all);
  if (!(all.ratio >= 0 && all.ratio <= most)) {
    fail(RangeError, "ratio", `0 to ${most}, the maximum with cells of ${all.sx}×${all.sy}`, all.ratio);
  }
  return Object.freeze(all);
}

function fail(
  kind: typeof RangeError | typeof TypeError,
  name: string,
  expected: string,
  found: unknown,
): never {
  throw new kind(`Cannot use tokenMerging.${name}: expected ${expected}, found ${show(found)}`);
}

function show(value: unknown): string {
  return typeof value === "string"
    ? JSON.stringify(value)
    : Array.isArray(value)
    ? "an array"
    : String(value);
}
