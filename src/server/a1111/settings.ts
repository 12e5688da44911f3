import type { NoiseSourceName } from "../../samplers/random.ts";
import { resolveSamplerName, type SamplerName } from "../../samplers/sampler.ts";
import { checkTokenMerging, maxRatio, type TokenMergingOptions } from "../../tome/options.ts";
import { HttpError } from "../errors.ts";
import type { ImageFormat } from "../images/encode.ts";
import type { ModelEntry, Models } from "../models.ts";

/** What `options` holds and `override_settings` overrides: the settings that have a meaning here. */
export interface Settings {
  sd_model_checkpoint: string;
  token_merging_ratio: number;
  /** 0 means: as the first. */
  token_merging_ratio_img2img: number;
  token_merging_ratio_hr: number;
  /** "GPU" and "NV" are CUDA's random numbers, "CPU" PyTorch's on the CPU. */
  randn_source: "GPU" | "CPU" | "NV";
  samples_format: "png" | "jpg" | "jpeg" | "webp";
  /** Of JPEG and WebP. */
  jpeg_quality: number;
}

/** Settings that clients send by habit, at the values that ask for nothing. */
const WITHOUT_EFFECT: Record<string, unknown[]> = {
  CLIP_stop_at_last_layers: [1],
  eta_noise_seed_delta: [0],
  samples_save: [false],
  sd_vae: ["Automatic", "None"],
};

const FORMATS: readonly string[] = ["png", "jpg", "jpeg", "webp"] satisfies Settings["samples_format"][];

const RATIOS = ["token_merging_ratio", "token_merging_ratio_img2img", "token_merging_ratio_hr"] as const;

export function defaultSettings(models: Models): Settings {
  return {
    sd_model_checkpoint: models.current.id,
    token_merging_ratio: 0,
    token_merging_ratio_img2img: 0,
    token_merging_ratio_hr: 0,
    randn_source: "GPU",
    samples_format: "png",
    jpeg_quality: 80,
  };
}

/** Settings with changes applied, and the names of changes that mean nothing here. Throws an `HttpError`. */
export function changeSettings(
  settings: Settings,
  changes: Record<string, unknown>,
  models: Models,
): { settings: Settings; ignored: string[] } {
  const next = { ...settings }, ignored: string[] = [];
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) continue;
    if (RATIOS.some((ratio) => ratio === name)) {
      if (typeof value !== "number" || !(value >= 0 && value <= 0.9)) {
        throw wrong(name, "a number, 0 to 0.9", value);
      }
      next[name as typeof RATIOS[number]] = value;
    } else if (name === "sd_model_checkpoint") {
      if (typeof value !== "string") throw wrong(name, "the name of a model", value);
      next.sd_model_checkpoint = findModel(models, value).id;
    } else if (name === "randn_source") {
      if (value !== "GPU" && value !== "CPU" && value !== "NV") {
        throw wrong(name, '"GPU", "CPU" or "NV"', value);
      }
      next.randn_source = value;
    } else if (name === "samples_format") {
      if (!FORMATS.includes(value as string)) throw wrong(name, FORMATS.join(", "), value);
      next.samples_format = value as Settings["samples_format"];
    } else if (name === "jpeg_quality") {
      if (typeof value !== "number" || !(value >= 0 && value <= 100)) {
        throw wrong(name, "a number, 0 to 100", value);
      }
      next.jpeg_quality = value;
    } else if (!WITHOUT_EFFECT[name]?.includes(value)) ignored.push(name);
  }
  return { settings: next, ignored };
}

/** As AUTOMATIC1111 names it: the title, with or without a hash behind. */
export function findModel(models: Models, title: string): ModelEntry {
  return models.get(title.replace(/ \[[0-9a-f]*\]$/, "").replace(/\.(safetensors|ckpt)$/, ""));
}

export function formatOf({ samples_format }: Settings): ImageFormat {
  return samples_format === "jpg" ? "jpeg" : samples_format;
}

export function noiseOf({ randn_source }: Settings): NoiseSourceName {
  return randn_source === "CPU" ? "cpu" : "philox";
}

/** As AUTOMATIC1111 calls tomesd: without random destinations. More than can be reached is the most that can. */
export function mergingOf(
  settings: Settings,
  kind: "txt2img" | "img2img" | "hr",
): { tokenMerging: TokenMergingOptions | null; warnings: string[] } {
  const own = kind === "txt2img" ? 0 : settings[`token_merging_ratio_${kind}`];
  const ratio = own || settings.token_merging_ratio;
  if (ratio === 0) return { tokenMerging: null, warnings: [] };
  const most = maxRatio({ sx: 2, sy: 2 });
  return {
    tokenMerging: checkTokenMerging({ ratio: Math.min(ratio, most), useRand: false }),
    warnings: ratio > most
      ? [`token merging ratio ${ratio} is more than can be reached: ${most} was used`]
      : [],
  };
}

/** Our sampler for AUTOMATIC1111's name and scheduler, and whether the scheduler has a meaning for it. */
export function samplerOf(
  name: string,
  scheduler: string | undefined,
): { sampler: SamplerName; met: boolean } {
  let sampler: SamplerName;
  try {
    sampler = resolveSamplerName(name);
  } catch (cause) {
    throw new HttpError(400, (cause as Error).message, {
      code: "Sampler not found",
      param: "sampler_name",
      cause,
    });
  }
  const wanted = (scheduler || "automatic").trim().toLowerCase();
  if (sampler === "dpm++_2m" || sampler === "dpm++_2m_karras") {
    // Its automatic choice there, too.
    if (wanted === "karras" || wanted === "automatic") return { sampler: "dpm++_2m_karras", met: true };
    if (wanted === "uniform" || wanted === "normal") return { sampler: "dpm++_2m", met: true };
  }
  return { sampler, met: ["automatic", "uniform", "normal"].includes(wanted) };
}

function wrong(name: string, expected: string, found: unknown): HttpError {
  return new HttpError(422, `Cannot use ${name}: expected ${expected}, found ${JSON.stringify(found)}`, {
    code: "ValidationError",
    param: name,
  });
}
