import { Command, InvalidArgumentError, Option } from "commander";
import process from "node:process";
import type { RunningServer } from "../server/serve.ts";
import { DEFAULTS } from "../server/options.ts";
import type { Io } from "./io.ts";

interface Flags {
  host: string;
  port: number;
  model?: string;
  models?: string;
  device: "auto" | "cpu" | "gpu" | "reference";
  threads?: number;
  kernels?: "fast" | "strict";
  apiKey?: string;
  cors?: string[];
  publicUrl?: string;
  maxWaiting: number;
  maxSeconds: number;
  maxPixels: number;
  maxSteps: number;
  maxImages: number;
  maxPromptLength: number;
  maxBodyBytes: number;
  imagesPerMinute: number;
  grace: number;
  logPrompts: boolean;
  quiet: boolean;
}

const EXAMPLES = `
Examples:
  The embedded model on http://127.0.0.1:7860, with a page at /, a reference at /docs:
    tome-edge serve
  Your own checkpoint, for the network, behind a key (better in TOME_API_KEY than in the process list):
    TOME_API_KEY=… tome-edge serve --model ./stable-diffusion-v1-5 --host 0.0.0.0
  For OpenAI's client: baseURL http://127.0.0.1:7860/v1. For AUTOMATIC1111's: http://127.0.0.1:7860.`;

export function serveCommand(io: Io): Command {
  return new Command("serve")
    .description("Serve pictures over HTTP, in the dialects of OpenAI and AUTOMATIC1111 and our own.")
    .option("--host <address>", "to listen on", "127.0.0.1")
    .option("--port <number>", "to listen on; 0 picks a free one", port, 7860)
    .option("--model <folder>", "a diffusers folder with .safetensors (the embedded emoji model)")
    .addOption(
      new Option("--models <folder>", "a folder of such folders, to be asked for by name").env("TOME_MODELS"),
    )
    .addOption(
      new Option("--device <name>", "where to compute").choices(["auto", "cpu", "gpu", "reference"]).default(
        "auto",
      ),
    )
    .option("--threads <number>", "compute threads (all cores)", whole)
    .addOption(new Option("--kernels <build>", "fast or strict").choices(["fast", "strict"]))
    .optionsGroup("Access:")
    .addOption(new Option("--api-key <key>", "ask for this key, as Bearer or Basic").env("TOME_API_KEY"))
    .option("--cors <origins...>", "origins whose pages may call; * for all (none)")
    .option("--public-url <url>", "what URLs of pictures begin with, behind a proxy")
    .optionsGroup("Limits:")
    .option("--max-waiting <number>", "jobs that may wait", whole, DEFAULTS.maxWaiting)
    .option("--max-seconds <number>", "of a job", whole, DEFAULTS.maxSeconds)
    .option("--max-pixels <number>", "of a picture", whole, DEFAULTS.maxPixels)
    .option("--max-steps <number>", "of a picture", whole, DEFAULTS.maxSteps)
    .option("--max-images <number>", "of a request", whole, DEFAULTS.maxImages)
    .option("--max-prompt-length <number>", "in characters", whole, DEFAULTS.maxPromptLength)
    .option("--max-body-bytes <number>", "of a request", whole, DEFAULTS.maxBodyBytes)
    .option("--images-per-minute <number>", "of one client; 0 for any", whole, DEFAULTS.imagesPerMinute)
    .option("--grace <seconds>", "that a running job has to end when the server is stopped", whole, 30)
    .optionsGroup("Output:")
    .option("--log-prompts", "write what jobs ask for into the log too", false)
    .option("-q, --quiet", "no log", false)
    .addHelpText("after", EXAMPLES)
    .action((flags: Flags) => run(flags, io));
}

async function run({ models, cors, device, threads, kernels, quiet, grace, ...flags }: Flags, io: Io) {
  const stop = new Promise<void>((resolve) => {
    let signals = 0;
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.on(signal, () => ++signals > 1 ? process.exit(130) : resolve());
    }
  });
  // Here, so that `generate` loads nothing of the server.
  const { serve } = await import("../server/serve.ts");
  const server: RunningServer = await serve({
    ...flags,
    folder: models,
    corsOrigins: cors,
    load: { device, threads, kernels },
    log: quiet ? undefined : (line) => io.out(line + "\n"),
  });
  const { info } = server.service.models;
  io.err(`${server.url}  serves ${info!.name} on ${info!.device}; Ctrl+C stops it\n`);
  await stop;
  io.err("stopping: what runs may finish\n");
  await server.close(grace);
}

function whole(value: string): number {
  const x = Number(value);
  if (value.trim() === "" || !Number.isSafeInteger(x) || x < 0) {
    throw new InvalidArgumentError("Expected a whole number, 0 or more.");
  }
  return x;
}

function port(value: string): number {
  const x = whole(value);
  if (x > 65535) throw new InvalidArgumentError("Expected 0 to 65535.");
  return x;
}
