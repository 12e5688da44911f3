import type { GenerateOptions, ModelInfo } from "../pipeline/options.ts";
import { resolveRequest } from "../pipeline/request.ts";
import type { Pass } from "./draw.ts";
import { drawSize } from "./draw_size.ts";
import { HttpError } from "./errors.ts";
import type { Settled } from "./options.ts";

export interface CheckOptions {
  /** Of the model that will draw; undefined while it was never loaded, and the engine says later what it cannot. */
  info: ModelInfo | undefined;
  limits: Pick<Settled, "maxPixels" | "maxSteps" | "maxImages" | "maxPromptLength">;
  /** What the dialect calls the fields. */
  names?: Partial<Record<keyof GenerateOptions, string>>;
  /** What the dialect answers to a value that it cannot use. */
  status?: number;
}

/**
 * Refuses what is more than the server allows or what the model cannot draw, so that a request which can only fail
 * never waits in the queue. Throws an `HttpError` that names the dialect's field.
 */
export function checkPass(
  { options, upscale }: Pass,
  { info, limits, names = {}, status = 400 }: CheckOptions,
): void {
  const nameOf = (option: string) => names[option as keyof GenerateOptions] ?? option;
  const refuse = (option: string, message: string, code: string, cause?: unknown): never => {
    throw new HttpError(status, message, { code, param: nameOf(option), cause });
  };
  const limit = (option: keyof GenerateOptions, value: number | undefined, most: number, what: string) => {
    if (value === undefined || value <= most) return;
    const message = `Cannot use ${nameOf(option)}: expected at most ${most} ${what}, found ${value}`;
    refuse(option, message, "limit_exceeded");
  };
  limit("prompt", options.prompt.length, limits.maxPromptLength, "characters");
  limit("negativePrompt", options.negativePrompt?.length, limits.maxPromptLength, "characters");
  limit("steps", options.steps ?? info?.defaults.steps, limits.maxSteps, "steps");
  limit("n", options.n, limits.maxImages, "pictures");
  const width = options.width ?? info?.nativeWidth, height = options.height ?? info?.nativeHeight;
  if (width && height) limit("width", width * height, limits.maxPixels, "pixels");
  else limit("width", Math.max(width ?? 0, height ?? 0), 16384, "pixels");
  if (!info || !width || !height) return;

  const { image, mask, ...rest } = options; // they are scaled to the size that is drawn
  let steps: number, strength: number;
  try {
    ({ steps, strength } = resolveRequest(
      { ...rest, ...drawSize({ width, height }, info, upscale) },
      { model: info, patch: null, previews: false },
    ));
  } catch (cause) {
    const { message } = cause as Error;
    const [, option] = /^Cannot use (\w+)/.exec(message) ?? [];
    if (option === undefined) throw cause;
    return refuse(option, message.replace(option, nameOf(option)), "invalid_value", cause);
  }
  const share = options.strength ?? (mask ? 1 : strength);
  if (image && Math.floor(steps * share) < 1) {
    refuse(
      "strength",
      `Cannot use ${nameOf("strength")} ${share}: expected at least 1 / ${steps} with ${steps} steps`,
      "invalid_value",
    );
  }
}
