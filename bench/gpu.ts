/**
 * The GPU's kernels at Stable Diffusion 1.5's shapes, each checked and then timed in turns with what the device
 * can do at most: a loop of multiply-adds on registers, or a copy. Times are the device's own where it has
 * `timestamp-query`, else the clock's around a submission. Then what a step of the UNet costs, counted: products,
 * bytes and dispatches, so that its time on another GPU can be reasoned about.
 *
 * `--shrink=4` (feature maps that much smaller on each side; 1 is 512²), `--f32`, `--no-subgroups`, `--only=conv`,
 * `--rounds=5`
 */
import process from "node:process";

import { type Case, sd15Cases } from "./cases.ts";
import { type PeakLoop, peakLoops } from "./gpu_peak.ts";
import { GpuTimer } from "./gpu_timer.ts";
import { stepTable } from "./gpu_step.ts";
import { median, type Report } from "./measure.ts";
import { countTraffic } from "./traffic.ts";
import { createWebgpuBackend, type WebgpuBackend } from "../src/backend/webgpu/backend.ts";
import { placeGpu } from "../src/backend/webgpu/adapter.ts";

const option = (name: string) => process.argv.find((a) => a.startsWith(`--${name}=`))?.slice(name.length + 3);

/** ms of one measurement at least. */
const SLICE = 40;
/** Of results rounded to f16 several times over, of size 1 to 10. */
const F16_LIMIT = 0.03;

export async function run(report: Report): Promise<void> {
  const shrink = Number(option("shrink") ?? 4) as 1 | 2 | 4;
  if (![1, 2, 4].includes(shrink)) throw new RangeError("Cannot shrink: expected --shrink=1, 2 or 4");
  const f32 = process.argv.includes("--f32");
  const subgroups = !process.argv.includes("--no-subgroups");
  const rounds = Number(option("rounds") ?? 5);
  const only = option("only");

  const gpu = await placeGpu();
  if (typeof gpu === "string") throw new Error(`Cannot time the GPU: ${gpu}`);
  const timer = new GpuTimer(gpu);
  const backend = await createWebgpuBackend({ gpu: timer.gpu, f16: f32 ? false : undefined, subgroups });
  const loops = await peakLoops(timer.device);
  report.line(
    `${backend.description}; feature maps of 512² / ${shrink}; times ` +
      (timer.hasTimestamps ? "by timestamp queries" : "by the clock around a submission"),
  );
  report.line(
    `${"kernel".padEnd(28)} ${"ms".padStart(9)} GFLOP/s    GB/s   share of the peak     max diff`,
  );
  const timing = { backend, timer, device: timer.device, rounds };
  for (const c of sd15Cases(shrink)) {
    if (only && !c.name.includes(only)) continue;
    await timeCase(report, c, { ...timing, peer: c.bytes ? loops.copy : loops.peak });
  }
  await backend.dispose();
  await stepTable(report);
}

interface Timing {
  backend: WebgpuBackend;
  timer: GpuTimer;
  device: GPUDevice;
  rounds: number;
  /** What the kernel is compared with. */
  peer: PeakLoop;
}

async function timeCase(report: Report, c: Case, { backend, timer, device, rounds, peer }: Timing) {
  const traffic = { calls: 0, elements: 0, weights: 0 };
  const counted = countTraffic(backend, traffic);
  const p = c.prepare(counted);
  const { difference, limit } = await p.verify();
  const allowed = backend.host.f16 ? F16_LIMIT : limit;
  if (!(difference <= allowed)) {
    throw new Error(
      `Cannot time ${c.name}: expected a difference of at most ${allowed}, found ${difference}`,
    );
  }
  Object.assign(traffic, { calls: 0, elements: 0, weights: 0 });
  p.run();
  const width = backend.host.f16 ? 2 : 4;
  const bytes = width * (traffic.elements + traffic.weights);

  const tick = backend.upload(new Float32Array(1), [1]);
  const kernel = async (times: number) => {
    for (let i = 0; i < times; i++) p.run();
    await backend.read(tick);
  };
  const loop = async (times: number) => {
    peer.submit(times);
    await device.queue.onSubmittedWorkDone();
  };
  const calls = await enough(kernel, timer), loops = await enough(loop, timer);
  const seconds: number[] = [], rates: number[] = [], peaks: number[] = [];
  for (let i = 0; i < rounds; i++) {
    peaks.push(peer.work * loops / await time(loop, loops, timer));
    seconds.push(await time(kernel, calls, timer) / calls);
    rates.push((c.bytes ? bytes : c.flops) / seconds[i]);
  }
  // Of neighbours in time: another program slows both.
  const share = median(rates.map((rate, i) => rate / peaks[i]));
  const ms = 1000 * median(seconds), gflops = c.flops / ms / 1e6, gbytes = bytes / ms / 1e6;
  const peak = median(peaks) / 1e9;
  report.row({ kernel: c.name, ms, gflops, gbytes, [c.bytes ? "copy" : "peak"]: peak, share, difference });
  report.line(
    `${c.name.padEnd(28)} ${ms.toFixed(3).padStart(9)} ${(c.flops ? gflops.toFixed(1) : "").padStart(7)} ${
      gbytes.toFixed(2).padStart(7)
    } ${(100 * share).toFixed(1).padStart(6)}% of ${peak.toFixed(1)} ${
      (c.bytes ? "GB/s" : "GFLOP/s").padEnd(8)
    } ${difference.toExponential(1)}`,
  );
}

type Work = (times: number) => Promise<void>;

async function time(work: Work, times: number, timer: GpuTimer): Promise<number> {
  timer.reset();
  const start = performance.now();
  await work(times);
  const clock = (performance.now() - start) / 1000;
  return timer.hasTimestamps ? await timer.passSeconds() : clock;
}

/** How often to repeat for a time that can be measured. */
async function enough(work: Work, timer: GpuTimer): Promise<number> {
  await work(1);
  for (let times = 1;; times *= 2) {
    const seconds = await time(work, times, timer);
    if (1000 * seconds >= SLICE || times >= 256) return times;
  }
}
