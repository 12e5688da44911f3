import { z } from "@hono/zod-openapi";
import { samplerNames } from "../../samplers/sampler.ts";
import { HttpError } from "../errors.ts";
import { IMAGE_FORMATS } from "../images/encode.ts";
import { TokenMergingSchema } from "../token_merging.ts";
import { conform } from "../validate.ts";

/** What a client may say and we have no use for; the answer lists those that were said. */
export const IGNORED = ["quality", "background", "moderation", "style", "user", "input_fidelity"] as const;

/** Clients send null for what they leave out. */
const orNothing = <T extends z.ZodType>(schema: T) =>
  z.nullish(schema).transform((value) => value ?? undefined);
const orElse = <T extends z.ZodType, D>(schema: T, otherwise: D) =>
  z.nullish(schema).transform((value): z.output<T> | D => value ?? otherwise);

const SIZE = /^(\d{1,5})x(\d{1,5})$/;

export const ImagesSchema = z.looseObject({
  prompt: z.string(),
  model: orNothing(z.string()),
  n: orElse(z.int().min(1).max(10), 1),
  size: orNothing(z.string().refine((s) => s === "auto" || SIZE.test(s), 'expected "WxH" or "auto"')),
  /** "url" where it is left out; a stream always has `b64_json`. */
  response_format: orNothing(z.enum(["url", "b64_json"])),
  output_format: orElse(z.enum(IMAGE_FORMATS), "png" as const),
  output_compression: orNothing(z.int().min(0).max(100)),
  stream: orElse(z.boolean(), false),
  partial_images: orElse(z.int().min(0).max(3), 0),
  quality: orNothing(z.string()),
  background: orNothing(z.string()),
  moderation: orNothing(z.string()),
  style: orNothing(z.string()),
  user: orNothing(z.string()),
  input_fidelity: orNothing(z.string()),
  // Ours.
  negative_prompt: orNothing(z.string()),
  seed: orNothing(z.int().min(0)),
  steps: orNothing(z.int().min(1).max(1000)),
  guidance_scale: orNothing(z.number().min(0).max(100)),
  sampler: orNothing(z.enum(samplerNames as [string, ...string[]])),
  strength: orNothing(z.number().gt(0).max(1)),
  upscale: orNothing(z.boolean()),
  token_merging: orNothing(TokenMergingSchema),
});

export type ImagesRequest = z.output<typeof ImagesSchema>;

export function parseSize(size: string | undefined): { width: number; height: number } | undefined {
  const match = SIZE.exec(size ?? "");
  if (!match) return undefined;
  const [width, height] = [Number(match[1]), Number(match[2])];
  if (width === 0 || height === 0) {
    throw new HttpError(400, `Cannot use size ${size}: expected at least 1x1`, {
      code: "invalid_value",
      param: "size",
    });
  }
  return { width, height };
}

/** What a form has as text is a number, a truth value or an object by the schema. */
const TYPED: Record<string, "number" | "boolean" | "json"> = {
  n: "number",
  output_compression: "number",
  partial_images: "number",
  stream: "boolean",
  seed: "number",
  steps: "number",
  guidance_scale: "number",
  strength: "number",
  upscale: "boolean",
  token_merging: "json",
};

/** A form's fields, and `token_merging[ratio]` as clients write objects. */
export function fromForm(form: FormData): ImagesRequest {
  const fields: Record<string, unknown> = {};
  for (const [name, value] of form) {
    if (typeof value !== "string") continue;
    const [, object, key] = /^(\w+)\[(\w+)\]$/.exec(name) ?? [];
    if (object === "token_merging") {
      const inner = (fields[object] ??= {}) as Record<string, unknown>;
      inner[key] = read(value, /^(true|false)$/.test(value) ? "boolean" : "number");
    } else fields[name] = read(value, TYPED[name]);
  }
  return conform(fields, ImagesSchema);
}

/** The value, or the text as it is where it is none: the schema then says what was expected. */
function read(text: string, type: "number" | "boolean" | "json" | undefined): unknown {
  if (type === "number") return text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
  if (type === "boolean") return text === "true" || (text === "false" ? false : text);
  if (type !== "json") return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
