import { CommanderError } from "commander";
import process from "node:process";
import { AbortError } from "../errors.ts";

/** What a failed command says in one line, and its exit code: 2, or 130 after Ctrl-C, as shells expect. */
export function failure(error: unknown): { code: number; line: string } {
  if (error instanceof AbortError) return { code: 130, line: "Stopped; nothing was written." };
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return { code: 0, line: "" }; // --help and --version
    return {
      code: 2,
      line: `tome-edge: ${error.message.replace(/^error: /, "")} (--help shows what there is)`,
    };
  }
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  const text = process.env.TOME_DEBUG ? stack ?? message : message.replace(/\s*\n\s*/g, " ");
  return { code: 2, line: `tome-edge: ${text}` };
}

/** An option as the library names it, and where on the command line it came from. */
const FLAGS: Record<string, string> = {
  guidanceScale: "--cfg",
  negativePrompt: "--negative",
  steps: "--steps",
  seed: "--seed",
  n: "--n",
  image: "--image",
  mask: "--mask",
  strength: "--strength",
  noise: "--noise",
  prompt: "the prompt",
  "tokenMerging.ratio": "--ratio",
  "tokenMerging.sx": "--sx",
  "tokenMerging.sy": "--sy",
  "tokenMerging.maxDownsample": "--max-downsample",
};

/** The library's error, in the words of the command line. */
export function inFlags(error: unknown, { sizeFrom }: { sizeFrom: string }): unknown {
  if (!(error instanceof RangeError || error instanceof TypeError)) return error;
  error.message = error.message
    .replace(/^Cannot use (width|height)\b/, `Cannot use ${sizeFrom}, $1`)
    .replace(
      /^Cannot use ([\w.]+)/,
      (all, name) => Object.hasOwn(FLAGS, name) ? `Cannot use ${FLAGS[name]}` : all,
    )
    .replace(/\bwithout image\b/, "without --image")
    .replace(/^Cannot choose a sampler/, "Cannot use --sampler")
    .replace(/^Cannot start the CPU backend: expected (.* threads),/, "Cannot use --threads: expected $1,");
  return error;
}
