import { checkTokenMerging } from "../tome/options.ts";
import type { TokenMergingOptions } from "../tome/options.ts";
import { resolveSamplerName } from "../samplers/sampler.ts";
import type { GenerateOptions, ModelInfo, Picture, Request } from "./options.ts";

/**
 * Checks what to draw and fills in the defaults.
 *
 * Throws a `TypeError` for the wrong kind of value and a `RangeError` for one out of range; the message names
 * the option, what was expected and what was found.
 */
export function resolveRequest(
  options: GenerateOptions,
  { model, patch, previews }: { model: ModelInfo; patch: TokenMergingOptions | null; previews: boolean },
): Request {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(
      `Cannot generate: expected options such as { prompt: "…" }, found ${describe(options)}`,
    );
  }
  const width = size("width", options.width ?? options.image?.width ?? model.nativeWidth, model.factor);
  const height = size("height", options.height ?? options.image?.height ?? model.nativeHeight, model.factor);
  const tokenMerging = options.tokenMerging === undefined ? patch : options.tokenMerging;
  if (options.mask && !options.image) {
    throw new TypeError("Cannot use mask without image: expected the picture to repaint");
  }
  return {
    prompt: text("prompt", options.prompt),
    negativePrompt: text("negativePrompt", options.negativePrompt ?? ""),
    width,
    height,
    steps: integer("steps", options.steps ?? model.defaults.steps ?? 25, 1, 1000),
    guidanceScale: number(
      "guidanceScale",
      options.guidanceScale ?? model.defaults.guidanceScale ?? 7.5,
      0,
      100,
    ),
    seed: integer("seed", options.seed ?? randomSeed(), 0, Number.MAX_SAFE_INTEGER),
    sampler: resolveSamplerName(text("sampler", options.sampler ?? model.sampler)),
    n: integer("n", options.n ?? 1, 1, 64),
    image: picture("image", options.image, width, height),
    mask: picture("mask", options.mask, width, height),
    strength: number(
      "strength",
      options.strength ?? (options.mask ? 1 : 0.75),
      0,
      1,
      "above 0 and at most 1",
    ),
    noise: oneOf("noise", options.noise ?? "cpu", ["cpu", "philox"]),
    tokenMerging: tokenMerging === null ? null : checkTokenMerging(tokenMerging),
    previews,
    mergeMaps: bool("mergeMaps", options.mergeMaps ?? false),
  };
}

function text(name: string, value: unknown): string {
  if (typeof value !== "string") {
    throw new TypeError(`Cannot use ${name}: expected a string, found ${describe(value)}`);
  }
  return value;
}

function bool(name: string, value: unknown): boolean {
  if (typeof value !== "boolean") {
    throw new TypeError(`Cannot use ${name}: expected true or false, found ${describe(value)}`);
  }
  return value;
}

function number(
  name: string,
  value: unknown,
  min: number,
  max: number,
  expected = `${min} to ${max}`,
): number {
  if (typeof value !== "number") {
    throw new TypeError(`Cannot use ${name}: expected a number, found ${describe(value)}`);
  }
  if (!(value >= min && value <= max) || (value === 0 && expected.startsWith("above"))) {
    throw new RangeError(`Cannot use ${name} ${value}: expected ${expected}`);
  }
  return value;
}

function integer(name: string, value: unknown, min: number, max: number): number {
  const x = number(name, value, min, max);
  if (!Number.isInteger(x)) throw new RangeError(`Cannot use ${name} ${x}: expected a whole number`);
  return x;
}

function size(name: string, value: unknown, factor: number): number {
  const x = integer(name, value, factor, 16384);
  if (x % factor) throw new RangeError(`Cannot use ${name} ${x}: expected a multiple of ${factor}`);
  return x;
}

function oneOf<T extends string>(name: string, value: T, allowed: readonly T[]): T {
  if (!allowed.includes(value)) {
    throw new RangeError(
      `Cannot use ${name} ${describe(value)}: expected ${allowed.map((a) => `"${a}"`).join(" or ")}`,
    );
  }
  return value;
}

/** A copy, so that what the caller does to its array later changes nothing. */
function picture(
  name: string,
  value: Picture | undefined,
  width: number,
  height: number,
): Picture | undefined {
  if (value === undefined) return undefined;
  if (
    !value || typeof value !== "object" ||
    !(value.data instanceof Uint8Array || value.data instanceof Uint8ClampedArray)
  ) {
    throw new TypeError(
      `Cannot use ${name}: expected { width, height, data } with RGBA bytes, found ${describe(value)}`,
    );
  }
  if (value.width !== width || value.height !== height) {
    throw new RangeError(
      `Cannot use ${name} of ${value.width}x${value.height}: expected the size to draw, ${width}x${height}`,
    );
  }
  if (value.data.length !== width * height * 4) {
    throw new RangeError(
      `Cannot use ${name}: expected ${width * height * 4} bytes of RGBA, found ${value.data.length}`,
    );
  }
  return { width, height, data: value.data.slice() };
}

function describe(value: unknown): string {
  return value === null
    ? "null"
    : typeof value === "string"
    ? JSON.stringify(value)
    : typeof value === "number"
    ? `${value}`
    : typeof value;
}

/** Below 2³², as other tools draw them. */
function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}
