/**
 * One UNet step with guidance at merge ratios 0, 0.3, 0.5 and 0.6: the embedded model, and random weights of
 * exactly Stable Diffusion 1.5's architecture. Ratios are timed in turns; beside each measured speed-up stands
 * the ceiling that counting multiply-adds gives, and beside the rate the SIMD peak of the same run.
 *
 * `--model=emoji|sd15`, `--size=512`, `--rounds=3`, `--ratios=0,0.5`, `--threads=2`, `--kernels=strict`
 */
import process from "node:process";
import type { HostTensor, Tensor } from "../src/backend/backend.ts";
import { countWork, WorkLog } from "../src/backend/count.ts";
import { createWasmBackend, type WasmBackend } from "../src/backend/wasm/backend.ts";
import { parseUnetConfig, type UnetConfig } from "../src/checkpoint/configs.ts";
import { openModelFolder } from "../src/checkpoint/folder.ts";
import { loadUnet, type Unet, unetForward } from "../src/models/unet.ts";
import type { WeightSource } from "../src/nn/weights.ts";
import { EMBEDDED_MODEL } from "../src/mod.ts";
import { checkTokenMerging } from "../src/tome/options.ts";
import { fileURLToPath } from "node:url";
import { median, peakLoop, rate, type Report } from "./measure.ts";

const option = (name: string) => process.argv.find((a) => a.startsWith(`--${name}=`))?.slice(name.length + 3);

/** Stable Diffusion 1.5's `unet/config.json`; the fields left out are at diffusers' defaults, which are these. */
export const SD15 = parseUnetConfig({ cross_attention_dim: 768, attention_head_dim: 8, sample_size: 64 });

export async function run(report: Report): Promise<void> {
  const ratios = (option("ratios") ?? "0,0.3,0.5,0.6").split(",").map(Number);
  const rounds = Number(option("rounds") ?? 3);
  const kernels = option("kernels") as "fast" | "strict" | undefined;
  const threads = option("threads") === undefined ? undefined : Number(option("threads"));
  const only = option("model");
  const sizes = option("size")?.split(",").map(Number);
  const cases = [
    { model: "emoji", factor: 4, contextTokens: 32, sizes: sizes ?? [96, 256, 512] },
    { model: "sd15", factor: 8, contextTokens: 77, sizes: sizes ?? [512] },
  ].filter((c) => only === undefined || only === c.model);

  for (const c of cases) {
    const b = await createWasmBackend({ kernels, threads });
    const log = new WorkLog();
    const unet = await load(countWork(b, log), c.model);
    report.line(`\n${c.model}, batch 2 (guidance); ${b.description}`);
    report.line(
      "   size  ratio   s/step    GMAC  GFLOP/s  of peak  speed-up  ceiling  activations   process",
    );
    for (const size of c.sizes) {
      const step = prepare(countWork(b, log), {
        unet,
        log,
        size: size / c.factor,
        contextTokens: c.contextTokens,
      });
      for (const ratio of ratios) await verify(b, step, ratio);
      await measure(report, { b, step, ratios, rounds, model: c.model, size, log });
    }
    await b.dispose();
  }
}

async function load(b: ReturnType<typeof countWork>, model: string): Promise<Unet> {
  if (model === "sd15") return await loadUnet(b, randomWeights(), SD15);
  const folder = await openModelFolder(fileURLToPath(EMBEDDED_MODEL));
  const weights = await folder.weights("unet");
  try {
    return await loadUnet(b, weights, folder.unet);
  } finally {
    await weights.close();
  }
}

/** Halves of standard deviation 1/√fan-in, so that activations neither vanish nor overflow; norms are 1 and 0. */
function randomWeights(): WeightSource {
  const pool = new Float32Array(1 << 16);
  let state = 1;
  for (let i = 0; i < pool.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    pool[i] = state / 2 ** 31 * Math.sqrt(3);
  }
  return {
    take(name, shape): HostTensor {
      const count = shape.reduce((a, n) => a * n, 1);
      const fanIn = shape.slice(1).reduce((a, n) => a * n, 1);
      const norm = shape.length === 1;
      const block = new Float16Array(Math.min(count, pool.length));
      for (let i = 0; i < block.length; i++) {
        block[i] = norm ? (name.endsWith("weight") ? 1 : 0) : pool[i] / Math.sqrt(fanIn);
      }
      const data = new Uint8Array(2 * count);
      const bytes = new Uint8Array(block.buffer);
      for (let at = 0; at < data.length; at += bytes.length) {
        data.set(bytes.subarray(0, Math.min(bytes.length, data.length - at)), at);
      }
      return { name, dtype: "F16", shape, data };
    },
  };
}

type Step = (ratio: number) => Tensor;

function prepare(
  b: ReturnType<typeof countWork>,
  { unet, log, size, contextTokens }: { unet: Unet; log: WorkLog; size: number; contextTokens: number },
): Step {
  const config: UnetConfig = unet.config;
  const noise = (length: number) => Float32Array.from({ length }, (_, i) => Math.sin(i * 12.9898) * 1.4);
  const x = b.upload(noise(2 * size * size * config.in_channels), [2, size, size, config.in_channels]);
  const context = b.upload(noise(2 * contextTokens * config.cross_attention_dim), [
    2,
    contextTokens,
    config.cross_attention_dim,
  ]);
  return (ratio) => {
    log.clear();
    const options = checkTokenMerging({ ratio });
    const merging = { options, latentHeight: size, latentWidth: size, seeds: [1], branches: 2, step: 0 };
    return unetForward(b, unet, x, { timestep: 481, context, merging: ratio > 0 ? merging : undefined });
  };
}

/** Warms up, and refuses to time what is not a number or does not come out the same twice. */
async function verify(b: WasmBackend, step: Step, ratio: number): Promise<void> {
  const runs: Float32Array[] = [];
  for (let i = 0; i < 2; i++) {
    const y = step(ratio);
    runs.push(await b.read(y));
    b.free(y);
  }
  if (!runs[0].every((v, i) => Number.isFinite(v) && v === runs[1][i])) {
    throw new Error(`Cannot time a step at ratio ${ratio}: expected finite numbers, the same twice`);
  }
}

async function measure(
  report: Report,
  { b, step, ratios, rounds, model, size, log }: {
    b: WasmBackend;
    step: Step;
    ratios: number[];
    rounds: number;
    model: string;
    size: number;
    log: WorkLog;
  },
): Promise<void> {
  const peak = peakLoop(b);
  const seconds = ratios.map(() => [] as number[]), peaks: number[] = [];
  const work: number[] = [], bytes: number[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const [i, ratio] of ratios.entries()) {
      peaks.push(rate(peak, b.host.threads));
      b.peakBytes(true);
      const start = performance.now();
      const y = step(ratio);
      await b.read(y);
      seconds[i].push((performance.now() - start) / 1000);
      b.free(y);
      work[i] = log.multiplyAdds;
      bytes[i] = b.peakBytes();
    }
  }
  for (const [i, ratio] of ratios.entries()) {
    const time = median(seconds[i]);
    const gflops = 2 * work[i] / time / 1e9;
    // Of one round, so that a machine that slows down slows both.
    const speedup = median(seconds[i].map((s, r) => seconds[0][r] / s));
    const ceiling = work[0] / work[i];
    const resident = process.memoryUsage().rss;
    report.row({
      model,
      size,
      ratio,
      seconds: time,
      gmac: work[i] / 1e9,
      gflops,
      peak: median(peaks),
      speedup,
      ceiling,
      activations: bytes[i],
      resident,
    });
    report.line(
      `${`${size}`.padStart(7)} ${ratio.toFixed(2).padStart(6)} ${time.toFixed(3).padStart(8)} ${
        (work[i] / 1e9).toFixed(1).padStart(7)
      } ` +
        `${gflops.toFixed(1).padStart(8)} ${(100 * gflops / median(peaks)).toFixed(1).padStart(7)}% ${
          speedup.toFixed(2).padStart(8)
        }x ` +
        `${ceiling.toFixed(2).padStart(7)}x ${(bytes[i] / 2 ** 20).toFixed(0).padStart(9)} MiB ${
          (resident / 2 ** 20).toFixed(0).padStart(6)
        } MiB`,
    );
  }
}
