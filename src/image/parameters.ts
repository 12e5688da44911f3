/**
 * Generation parameters as text, in AUTOMATIC1111's "infotext" format: what other tools read from and write to
 * the PNG chunk `parameters`.
 *
 * The format does not escape the prompts: a prompt with a line that begins with "Negative prompt:" comes back cut
 * there, as it does in AUTOMATIC1111.
 *
 * @module
 */

export interface GenerationParameters {
  prompt: string;
  negativePrompt?: string;
  steps?: number;
  /** As in `generate`: "ddim", "pndm", "euler", "euler_a", "dpm++_2m", "dpm++_2m_karras", "lcm". */
  sampler?: string;
  guidanceScale?: number;
  seed?: number;
  width?: number;
  height?: number;
  model?: string;
  /** Image-to-image only. */
  strength?: number;
  /** Present when `strength` counts. */
  image?: unknown;
  noise?: "cpu" | "philox";
  tokenMerging?: {
    ratio?: number;
    maxDownsample?: number;
    sx?: number;
    sy?: number;
    useRand?: boolean;
    mergeAttn?: boolean;
    mergeCrossAttn?: boolean;
    mergeMlp?: boolean;
    randomness?: string;
  } | null;
  version?: string;
}

/** Parameters read from a picture: as above, and every field of the last line by its name there. */
export interface ParsedParameters extends Omit<GenerationParameters, "image" | "version" | "negativePrompt"> {
  negativePrompt: string;
  fields: Map<string, string>;
}

/** What AUTOMATIC1111 calls our samplers. */
export const SAMPLERS: Record<string, string> = {
  "ddim": "DDIM",
  "pndm": "PLMS",
  "euler": "Euler",
  "euler_a": "Euler a",
  "dpm++_2m": "DPM++ 2M",
  "dpm++_2m_karras": "DPM++ 2M Karras",
  "lcm": "LCM",
};

/** The merging options beside the ratio, which AUTOMATIC1111 knows: written where they are not the default. */
const MERGING = [
  ["Token merging max downsample", "maxDownsample", 1],
  ["Token merging sx", "sx", 2],
  ["Token merging sy", "sy", 2],
  ["Token merging random", "useRand", true],
  ["Token merging self-attention", "mergeAttn", true],
  ["Token merging cross-attention", "mergeCrossAttn", false],
  ["Token merging feed-forward", "mergeMlp", false],
  ["Token merging randomness", "randomness", "image"],
] as const;

/** The text of the chunk `parameters`: the prompts, then one line of fields. */
export function formatParameters(parameters: GenerationParameters): string {
  const { prompt, negativePrompt, sampler, width, height, tokenMerging, noise } = parameters;
  const merging = tokenMerging && tokenMerging.ratio ? tokenMerging : undefined;
  const fields: [string, string | number | boolean | undefined][] = [
    ["Steps", parameters.steps],
    ["Sampler", sampler === undefined ? undefined : SAMPLERS[sampler] ?? sampler],
    ["CFG scale", parameters.guidanceScale],
    ["Seed", parameters.seed],
    ["Size", width === undefined || height === undefined ? undefined : `${width}x${height}`],
    ["Model", parameters.model],
    ["Denoising strength", parameters.image === undefined ? undefined : parameters.strength],
    ["RNG", noise === undefined ? undefined : noise === "cpu" ? "CPU" : "NV"],
    ["Token merging ratio", merging?.ratio],
    ...MERGING.map(([name, key, usual]): [string, string | number | boolean | undefined] => {
      const value = merging?.[key];
      return [name, value === usual ? undefined : value];
    }),
    ["Version", parameters.version === undefined ? undefined : `tome-edge ${parameters.version}`],
  ];
  const line = fields
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) =>
      `${name}: ${quoted(typeof value === "boolean" ? (value ? "True" : "False") : `${value}`)}`
    )
    .join(", ");
  const lines = [prompt];
  if (negativePrompt) lines.push(`Negative prompt: ${negativePrompt}`);
  lines.push(line);
  return lines.join("\n");
}

/** Reads such a text, also AUTOMATIC1111's own. What is absent or no number is left out; unknown fields are kept. */
export function parseParameters(text: string): ParsedParameters {
  const lines = text.trim().split(/\r?\n/);
  // As AUTOMATIC1111 decides whether the last line is one of fields or part of the prompt.
  let fields = readFields(lines[lines.length - 1]);
  if (fields.size >= 3) lines.pop();
  else fields = new Map();
  const start = lines.findIndex((line) => line.startsWith("Negative prompt:"));
  const prompt = (start < 0 ? lines : lines.slice(0, start)).join("\n").trim();
  const negative = start < 0 ? "" : lines.slice(start).join("\n").slice("Negative prompt:".length).trim();

  const number = (name: string): number | undefined => {
    const value = fields.get(name)?.trim();
    return value && Number.isFinite(Number(value)) ? Number(value) : undefined;
  };
  const size = /^(\d+)x(\d+)$/.exec(fields.get("Size") ?? "");
  const rng = fields.get("RNG");
  const ratio = number("Token merging ratio");
  const merging: Record<string, number | boolean | string> = {};
  for (const [name, key, usual] of MERGING) {
    const value = fields.get(name);
    if (value === undefined) continue;
    const parsed = typeof usual === "boolean"
      ? value === "True"
      : typeof usual === "number"
      ? number(name)
      : value;
    if (parsed !== undefined) merging[key] = parsed;
  }
  const parsed: ParsedParameters = {
    prompt,
    negativePrompt: negative,
    steps: number("Steps"),
    sampler: samplerOf(fields),
    guidanceScale: number("CFG scale"),
    seed: number("Seed"),
    width: size ? Number(size[1]) : undefined,
    height: size ? Number(size[2]) : undefined,
    model: fields.get("Model"),
    strength: number("Denoising strength"),
    noise: rng === "CPU" ? "cpu" : rng === "NV" ? "philox" : undefined,
    tokenMerging: ratio === undefined ? undefined : { ratio, ...merging },
    fields,
  };
  for (const key of Object.keys(parsed) as (keyof ParsedParameters)[]) {
    if (parsed[key] === undefined) delete parsed[key];
  }
  return parsed;
}

/** Since version 1.9, AUTOMATIC1111 states Karras noise levels in a field of their own. */
function samplerOf(fields: ReadonlyMap<string, string>): string | undefined {
  const stated = fields.get("Sampler");
  if (stated === undefined) return undefined;
  const name = fields.get("Schedule type") === "Karras" ? `${stated} Karras` : stated;
  return Object.keys(SAMPLERS).find((key) => SAMPLERS[key] === name) ?? name;
}

function quoted(text: string): string {
  return /[,:"\n]/.test(text) || text !== text.trim() ? JSON.stringify(text) : text;
}

function readFields(line: string): Map<string, string> {
  // AUTOMATIC1111's pattern, but names end after 64 characters: unlimited, a long line takes quadratic time.
  const field = /([\p{L}\p{N}_][\p{L}\p{N}_ \-/]{1,63}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)/gu;
  return new Map(Array.from(line.matchAll(field), ([, name, value]) => [name, unquoted(value)]));
}

function unquoted(value: string): string {
  if (!value.startsWith('"') || !value.endsWith('"')) return value.trim();
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}
