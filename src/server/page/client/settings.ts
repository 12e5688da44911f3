import { type ParsedParameters, SAMPLERS } from "../../../image/parameters.ts";

/**
 * What the form holds. Numbers are kept as they are typed: an empty field means the model's own value.
 */
export interface Settings {
  prompt: string;
  negativePrompt: string;
  /** "" for the server's own choice; so for `sampler`. */
  model: string;
  width: string;
  height: string;
  steps: string;
  guidanceScale: string;
  sampler: string;
  seed: string;
  /** Draw with the seed as it is; otherwise every picture gets a new one. */
  keepSeed: boolean;
  ratio: number;
  sx: string;
  sy: string;
  maxDownsample: string;
  useRand: boolean;
  mergeAttn: boolean;
  mergeCrossAttn: boolean;
  mergeMlp: boolean;
}

/** A body of POST /generate. */
export interface Request {
  prompt: string;
  negative_prompt?: string;
  model?: string;
  width?: number;
  height?: number;
  steps?: number;
  guidance_scale?: number;
  sampler?: string;
  seed?: number;
  token_merging: {
    ratio: number;
    sx?: number;
    sy?: number;
    max_downsample?: number;
    use_rand: boolean;
    merge_attn: boolean;
    merge_crossattn: boolean;
    merge_mlp: boolean;
  };
}

export const START: Settings = {
  prompt: "a 3d icon of a red apple on a sky blue background",
  negativePrompt: "",
  model: "",
  width: "",
  height: "",
  steps: "",
  guidanceScale: "",
  sampler: "",
  seed: "3",
  keepSeed: false,
  ratio: 0.5,
  sx: "2",
  sy: "2",
  maxDownsample: "1",
  useRand: true,
  mergeAttn: true,
  mergeCrossAttn: false,
  mergeMlp: false,
};

export const samplers = Object.entries(SAMPLERS);

const number = (text: string): number | undefined => text.trim() === "" ? undefined : Number(text);

export function toRequest(s: Settings): Request {
  return {
    prompt: s.prompt,
    negative_prompt: s.negativePrompt || undefined,
    model: s.model || undefined,
    width: number(s.width),
    height: number(s.height),
    steps: number(s.steps),
    guidance_scale: number(s.guidanceScale),
    sampler: s.sampler || undefined,
    seed: number(s.seed),
    token_merging: {
      ratio: s.ratio,
      sx: number(s.sx),
      sy: number(s.sy),
      max_downsample: number(s.maxDownsample),
      use_rand: s.useRand,
      merge_attn: s.mergeAttn,
      merge_crossattn: s.mergeCrossAttn,
      merge_mlp: s.mergeMlp,
    },
  };
}

/** The same request with another ratio. */
export function withRatio(request: Request, ratio: number): Request {
  return { ...request, token_merging: { ...request.token_merging, ratio } };
}

const text = (value: number | undefined) => value === undefined ? "" : String(value);

/** The form that asks for what was asked for. The seed is kept, since it is that picture's. */
export function fromRequest(r: Request): Settings {
  const m = r.token_merging;
  return {
    prompt: r.prompt,
    negativePrompt: r.negative_prompt ?? "",
    model: r.model ?? "",
    width: text(r.width),
    height: text(r.height),
    steps: text(r.steps),
    guidanceScale: text(r.guidance_scale),
    sampler: r.sampler ?? "",
    seed: text(r.seed),
    keepSeed: true,
    ratio: m.ratio,
    sx: text(m.sx),
    sy: text(m.sy),
    maxDownsample: text(m.max_downsample ?? 1),
    useRand: m.use_rand,
    mergeAttn: m.merge_attn,
    mergeCrossAttn: m.merge_crossattn,
    mergeMlp: m.merge_mlp,
  };
}

/**
 * The form by a picture's own parameters, ours or AUTOMATIC1111's, and what of them cannot be had here.
 *
 * @param models names of the models there are
 */
export function fromParameters(
  p: ParsedParameters,
  models: readonly string[],
): { settings: Settings; notes: string[] } {
  const notes: string[] = [];
  const known = p.sampler === undefined || p.sampler in SAMPLERS;
  if (!known) notes.push(`there is no sampler “${p.sampler}” here: the model's own is set`);
  if (p.model !== undefined && !models.includes(p.model)) {
    notes.push(`it was drawn by “${p.model}”, which is not here`);
  }
  if (p.strength !== undefined) notes.push("it was drawn from another picture, which it does not hold");
  if (p.noise === "philox") notes.push("its seed means CUDA's random numbers, not those of this page");
  const m = p.tokenMerging ?? {};
  return {
    notes,
    settings: {
      ...START,
      prompt: p.prompt,
      negativePrompt: p.negativePrompt,
      model: p.model !== undefined && models.includes(p.model) ? p.model : "",
      width: text(p.width),
      height: text(p.height),
      steps: text(p.steps),
      guidanceScale: text(p.guidanceScale),
      sampler: known ? p.sampler ?? "" : "",
      seed: text(p.seed),
      keepSeed: p.seed !== undefined,
      ratio: m.ratio ?? 0,
      sx: text(m.sx ?? 2),
      sy: text(m.sy ?? 2),
      maxDownsample: text(m.maxDownsample ?? 1),
      useRand: m.useRand ?? true,
      mergeAttn: m.mergeAttn ?? true,
      mergeCrossAttn: m.mergeCrossAttn ?? false,
      mergeMlp: m.mergeMlp ?? false,
    },
  };
}

/** Below 2³², as other tools draw them. */
export function randomSeed(): string {
  return String(crypto.getRandomValues(new Uint32Array(1))[0]);
}

const KEY = "tome-edge settings";

/** The form as it was left; a reload, or another visit, finds it again. */
export function restore(): Settings {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    const fits = Object.entries(kept).filter(([name, value]) =>
      typeof value === typeof START[name as keyof Settings]
    );
    return { ...START, ...Object.fromEntries(fits) };
  } catch {
    return START; // storage is denied, or damaged
  }
}

export function keep(settings: Settings): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // Storage is denied: the form lasts as long as the page.
  }
}
