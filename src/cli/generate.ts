import { Argument, Command, InvalidArgumentError, Option } from "commander";
import { access, constants, readFile, rename, stat, unlink, writeFile } from "node:fs/promises";
import { dirname, extname } from "node:path";
import process from "node:process";
import { checkTokenMerging } from "../tome/options.ts";
import { decodePng } from "../image/png.ts";
import { psnr, ssim } from "../image/metrics.ts";
import {
  EMBEDDED_MODEL,
  type GenerateOptions,
  type GenerateResult,
  type Image,
  loadPipeline,
  type Pipeline,
} from "../mod.ts";
import { resolveSamplerName, samplerNames } from "../samplers/sampler.ts";
import { inFlags } from "./fail.ts";
import type { Io } from "./io.ts";
import { median, progress, type Reporter } from "./progress.ts";

interface Flags {
  out: string;
  seed?: number;
  steps?: number;
  size?: { width: number; height: number };
  cfg?: number;
  negative?: string;
  sampler?: string;
  n: number;
  image?: string;
  mask?: string;
  strength?: number;
  noise?: "cpu" | "philox";
  ratio: number;
  sx: number;
  sy: number;
  maxDownsample: 1 | 2 | 4 | 8;
  mergeCross: boolean;
  mergeMlp: boolean;
  rand: boolean;
  compare: boolean;
  model?: string;
  device: "auto" | "cpu" | "gpu" | "reference";
  threads?: number;
  kernels?: "fast" | "strict";
  cache: boolean;
  quiet: boolean;
  json: boolean;
}

export const ATTRIBUTION =
  `The embedded model was trained on Fluent Emoji by Microsoft (MIT), Noto Emoji by Google (Apache-2.0) and Twemoji,
copyright Twitter, Inc and other contributors (CC-BY 4.0, https://creativecommons.org/licenses/by/4.0/). Keep this
attribution with what it draws; every PNG carries it.`;

const EXAMPLES = `
Examples:
  Draw a picture with the embedded model (96x96 pixels, about 25 steps):
    tome-edge generate "a 3d icon of a red apple on a sky blue background" --out apple.png
  Merge half of the tokens, at a size where it pays, and see what it cost:
    tome-edge generate "flat icon of a cat face" --size 256x256 --ratio 0.5 --compare --out cat.png
  The same picture again, byte for byte, on any engine:
    tome-edge generate "a panda face, cartoon, on pink" --seed 7 --kernels strict --out panda.png
  Your own checkpoint, a diffusers folder with .safetensors:
    tome-edge generate "a lighthouse at dusk" --model ./stable-diffusion-v1-5 --steps 20 --out lighthouse.png
  A model from a URL or the hub (HF_TOKEN for a private one), cached under ~/.cache/tome-edge:
    tome-edge generate "a lighthouse at dusk" --model https://example.org/models/small-sd/ --out lighthouse.png
    tome-edge generate "a lighthouse at dusk" --model hf://owner/name@main --out lighthouse.png
  Start from a picture, and repaint only where the mask is white:
    tome-edge generate "a 3d icon of a green apple" --image apple.png --mask mask.png --strength 0.8 --out green.png

TOME_DEBUG=1 in the environment shows where an error comes from.

${ATTRIBUTION}`;

export function generateCommand(io: Io): Command {
  return new Command("generate")
    .description("Draw pictures from a text.")
    .addArgument(new Argument("<prompt>", "what to draw"))
    .option("-o, --out <file>", "where to write the PNG; several pictures are numbered", "out.png")
    .option("--seed <number>", "same seed, same picture; drawn at random and printed by default", whole)
    .option("--steps <number>", "denoising steps (25)", whole)
    .option("--size <WxH>", "pixels, such as 96x128 (the model's native size)", size)
    .option(
      "--cfg <number>",
      "guidance scale: how closely to follow the prompt; 1 turns guidance off",
      decimal,
    )
    .option("--negative <text>", "what to avoid")
    .option("--sampler <name>", `${samplerNames.join(", ")} (the checkpoint's own)`)
    .option("--n <number>", "pictures to draw, at seed, seed + 1, …", whole, 1)
    .option("--image <file>", "start from this PNG")
    .option("--mask <file>", "with --image: repaint where this PNG is white")
    .option(
      "--strength <number>",
      "with --image: the share of the steps to run, 0 to 1 (0.75; 1 with --mask)",
      decimal,
    )
    .addOption(
      new Option("--noise <source>", "whose random numbers a seed means: PyTorch's CPU or CUDA's").choices([
        "cpu",
        "philox",
      ]),
    )
    .optionsGroup("Token merging (arXiv 2303.17604):")
    .option("--ratio <number>", "share of tokens to merge, 0 (off) to 0.75", decimal, 0)
    .option("--sx <number>", "width of the cells that keep one token each", whole, 2)
    .option("--sy <number>", "height of these cells", whole, 2)
    .option("--max-downsample <number>", "merge in layers down-sampled by at most 1, 2, 4 or 8", whole, 1)
    .option("--merge-cross", "merge around attention to the text too", false)
    .option("--merge-mlp", "merge around the feed-forward layers too", false)
    .option("--no-rand", "keep each cell's top left token instead of one at random")
    .option(
      "--compare",
      "draw it without merging too; print the speed-up beside its ceiling, and the likeness",
      false,
    )
    .optionsGroup("Engine:")
    .option(
      "--model <place>",
      "a diffusers folder with .safetensors: a path, a URL, or owner/name on the Hugging Face hub (the embedded emoji model)",
    )
    .option("--no-cache", "keep nothing of a model from the network for the next time")
    .addOption(
      new Option("--device <name>", "where to compute").choices(["auto", "cpu", "gpu", "reference"]).default(
        "auto",
      ),
    )
    .option("--threads <number>", "compute threads (all cores)", whole)
    .addOption(
      new Option("--kernels <build>", "fast: relaxed multiply-add; strict: the same bytes on every engine")
        .choices(["fast", "strict"]),
    )
    .optionsGroup("Output:")
    .option("-q, --quiet", "print nothing but errors", false)
    .option("--json", "print one JSON object: files, seed, seconds, tokens, multiply-adds", false)
    .addHelpText("after", EXAMPLES)
    .action((prompt: string, flags: Flags) => generate(prompt, { flags, io }));
}

async function generate(prompt: string, { flags, io }: { flags: Flags; io: Io }): Promise<void> {
  const tokenMerging = checkFlags(prompt, flags);
  const files = outputs(flags.out, flags.n);
  await assertWritable(files);
  const report = progress({ quiet: flags.quiet || flags.json, io });
  const controller = new AbortController();
  const stop = () => controller.abort();
  process.once("SIGINT", stop);
  let pipe: Pipeline | undefined;
  try {
    const image = flags.image === undefined ? undefined : await readPicture("--image", flags.image);
    const mask = flags.mask === undefined ? undefined : await readPicture("--mask", flags.mask);
    const start = performance.now();
    pipe = await loadPipeline(flags.model ?? EMBEDDED_MODEL, {
      device: flags.device,
      threads: flags.threads,
      kernels: flags.kernels,
      // Nothing else needs this thread, and on Deno a worker's own workers take a second to start.
      worker: false,
      signal: controller.signal,
      onProgress: (progress) => report.loading(progress),
      cache: flags.cache,
    });
    const loadSeconds = (performance.now() - start) / 1000;
    const options: GenerateOptions = {
      prompt,
      negativePrompt: flags.negative,
      width: flags.size?.width,
      height: flags.size?.height,
      steps: flags.steps,
      guidanceScale: flags.cfg,
      seed: flags.seed,
      sampler: flags.sampler,
      n: flags.n,
      image,
      mask,
      strength: flags.strength,
      noise: flags.noise,
      tokenMerging,
      signal: controller.signal,
    };
    const notes = pipe.info.notes ?? [];
    const result = await draw(pipe, options, report);
    const plain = flags.compare && tokenMerging
      ? await draw(pipe, { ...options, seed: result.stats.seed, tokenMerging: null }, report)
      : undefined;
    for (const [i, image] of result.images.entries()) await replaceFile(files[i], image.png());
    const comparison = plain && compare(result, plain);
    if (flags.json) {
      const { images, ...rest } = result;
      const sizes = images.map(({ width, height }, i) => ({ file: files[i], width, height }));
      io.out(
        JSON.stringify({ images: sizes, loadSeconds, notes, ...rest, comparison }, null, 2) + "\n",
      );
    } else if (!flags.quiet) {
      for (const line of summary(result, { files, loadSeconds, notes, comparison })) {
        io.out(line + "\n");
      }
    }
  } catch (error) {
    throw inFlags(error, { sizeFrom: flags.size || !flags.image ? "--size" : `--image ${flags.image}` });
  } finally {
    process.off("SIGINT", stop);
    report.stop();
    await pipe?.dispose();
  }
}

/** What can be said without the model; gives the merging options, null for none. */
function checkFlags(prompt: string, flags: Flags) {
  if (prompt.trim() === "") throw new TypeError("Cannot draw an empty prompt: say what to draw");
  if (!(flags.n >= 1 && flags.n <= 64)) throw new RangeError(`Cannot use --n ${flags.n}: expected 1 to 64`);
  if (flags.compare && flags.ratio === 0) {
    throw new TypeError("Cannot use --compare: expected --ratio above 0, found nothing to compare");
  }
  for (const name of ["mask", "strength"] as const) {
    if (flags[name] !== undefined && flags.image === undefined) {
      throw new TypeError(`Cannot use --${name} without --image: expected the picture to start from`);
    }
  }
  try {
    if (flags.sampler !== undefined) resolveSamplerName(flags.sampler);
    const tokenMerging = checkTokenMerging({
      ratio: flags.ratio,
      sx: flags.sx,
      sy: flags.sy,
      maxDownsample: flags.maxDownsample,
      useRand: flags.rand,
      mergeCrossAttn: flags.mergeCross,
      mergeMlp: flags.mergeMlp,
    });
    return flags.ratio === 0 ? null : tokenMerging;
  } catch (error) {
    throw inFlags(error, { sizeFrom: "--size" });
  }
}

async function draw(pipe: Pipeline, options: GenerateOptions, report: Reporter): Promise<GenerateResult> {
  for await (const step of pipe.steps(options)) {
    report.step(step);
    if (step.result) return step.result;
  }
  throw new Error("The run ended without a result");
}

/** Of the denoising alone: that is what merging can speed up. */
function compare(merged: GenerateResult, plain: GenerateResult) {
  const likeness = merged.images.map((image, i) => ({
    psnr: psnr(image, plain.images[i]),
    ssim: ssim(image, plain.images[i]),
  }));
  return {
    speedup: median(plain.stats.stepSeconds) / median(merged.stats.stepSeconds),
    ceiling: plain.stats.multiplyAdds / merged.stats.multiplyAdds,
    likeness,
  };
}

function summary(
  { images, stats, warnings }: GenerateResult,
  { files, loadSeconds, notes, comparison }: {
    files: string[];
    loadSeconds: number;
    notes: readonly string[];
    comparison?: ReturnType<typeof compare>;
  },
): string[] {
  const { seconds } = stats;
  const lines = [...notes, ...warnings].map((w) => `note: ${w}`);
  images.forEach(({ width, height }, i) =>
    lines.push(`${files[i]}  ${width}x${height}, seed ${stats.seed + i}`)
  );
  lines.push(
    `${seconds.total.toFixed(2)} s: ${stats.networkCalls} network call${
      stats.networkCalls === 1 ? "" : "s"
    } of ${(seconds.denoise / stats.networkCalls).toFixed(3)} s, ` +
      `decoding ${seconds.decode.toFixed(2)} s; loading ${
        loadSeconds.toFixed(2)
      } s before that; on ${stats.device}`,
  );
  const merged = stats.tokens.filter((t) => t.after < t.before);
  if (merged.length) {
    lines.push(
      `merged in ${merged.length} of ${stats.tokens.length} transformer blocks, ${merged[0].before} → ${
        merged[0].after
      } tokens; ` +
        `by counting multiply-adds at most ${stats.ceiling.toFixed(2)}x faster`,
    );
  } else if (stats.tokenMerging) {
    lines.push(
      "no transformer block was merged: none is at most --max-downsample, or its grid is smaller than a cell",
    );
  }
  if (comparison) {
    const { speedup, ceiling, likeness } = comparison;
    const each = likeness.map((l) =>
      `${Number.isFinite(l.psnr) ? l.psnr.toFixed(1) : "∞"} dB PSNR, ${l.ssim.toFixed(3)} SSIM`
    ).join("; ");
    lines.push(
      `against no merging: ${speedup.toFixed(2)}x of at most ${ceiling.toFixed(2)}x; likeness ${each}`,
      ...(speedup > 1.05 * ceiling
        ? ["note: more than counting allows: the machine was busier during the second picture; try again"]
        : []),
    );
  }
  return lines;
}

/** "apple.png", or "apple-1.png", "apple-2.png", … */
function outputs(out: string, n: number): string[] {
  const extension = extname(out);
  if (extension.toLowerCase() !== ".png") {
    throw new TypeError(
      `Cannot write ${out}: expected a name that ends in .png, found ${
        extension ? `"${extension}"` : "none"
      }`,
    );
  }
  if (n === 1) return [out];
  return Array.from({ length: n }, (_, i) => `${out.slice(0, -extension.length)}-${i + 1}${extension}`);
}

/** Before the work, not after it. */
async function assertWritable(files: readonly string[]): Promise<void> {
  const folder = dirname(files[0]);
  try {
    if (!(await stat(folder)).isDirectory()) throw new Error();
    await access(folder, constants.W_OK);
  } catch {
    throw new Error(
      `Cannot write ${files[0]}: expected a folder ${folder} that may be written to, found none`,
    );
  }
  for (const file of files) {
    if (await stat(file).then((s) => s.isDirectory(), () => false)) {
      throw new Error(`Cannot write ${file}: expected a file or none, found a folder`);
    }
  }
}

/** So that a file is old or new, never half. */
async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  const part = `${path}.${process.pid}.part`;
  try {
    await writeFile(part, bytes);
    await rename(part, path);
  } catch (error) {
    await unlink(part).catch(() => undefined);
    throw new Error(`Cannot write ${path}: ${(error as Error).message}`);
  }
}

async function readPicture(
  flag: string,
  path: string,
): Promise<Image | { width: number; height: number; data: Uint8ClampedArray }> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw new Error(
      `Cannot read ${flag} ${path}: ${
        (error as NodeJS.ErrnoException).code === "ENOENT"
          ? "there is no such file"
          : (error as Error).message
      }`,
    );
  }
  try {
    return decodePng(bytes, { maxPixels: 4096 * 4096 });
  } catch (error) {
    throw new Error(`Cannot use ${flag} ${path}: ${(error as Error).message}`);
  }
}

function decimal(value: string): number {
  const x = Number(value);
  if (value.trim() === "" || !Number.isFinite(x)) throw new InvalidArgumentError("Expected a number.");
  return x;
}

function whole(value: string): number {
  const x = Number(value);
  if (value.trim() === "" || !Number.isSafeInteger(x)) {
    throw new InvalidArgumentError("Expected a whole number.");
  }
  return x;
}

function size(value: string): { width: number; height: number } {
  const match = /^(\d{1,5})x(\d{1,5})$/i.exec(value);
  if (!match) throw new InvalidArgumentError("Expected width and height in pixels, such as 96x128.");
  return { width: Number(match[1]), height: Number(match[2]) };
}
