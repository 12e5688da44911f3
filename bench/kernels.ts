/**
 * Each kernel at Stable Diffusion 1.5's shapes (512²), on one thread and on all, beside the SIMD peak: a loop of
 * multiply-adds on registers, timed in turns with the kernel. What moves more than it computes stands beside a
 * copy of the same tensor instead, in GB/s read and written. One thread is timed by the process's CPU time, so
 * that a busy machine matters little; several by the clock.
 */
import process from "node:process";
import { createWasmBackend, type WasmBackend } from "../src/backend/wasm/backend.ts";
import { randoms, sd15Cases } from "./cases.ts";
import { median, peakLoop, rate, type Report, type Workload } from "./measure.ts";

/** Measurements that the median is taken over. */
const ROUNDS = 21;

/** Copies as many bytes as a kernel moves, on as many threads, from and to tensors as large as its own. */
function copyLoop(backend: WasmBackend, bytes: number): Workload {
  const x = backend.upload(randoms(bytes / 8), [bytes / 8 / 64, 64]);
  const y = backend.empty(x.shape);
  return { run: () => backend.write(y, x), work: bytes };
}

export async function run(report: Report): Promise<void> {
  const option = (name: string) =>
    process.argv.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3);
  const kernels = option("kernels") as "fast" | "strict" | undefined;
  const only = option("only");
  const cores = Number(option("threads") ?? navigator.hardwareConcurrency);
  for (const threads of cores > 1 ? [1, cores] : [1]) {
    const backend = await createWasmBackend({ threads, kernels });
    report.line(`\n${backend.description}; peak and copy are of one measurement with each kernel`);
    const peak = peakLoop(backend);
    let heading = "";
    for (const c of sd15Cases()) {
      if (only && !c.name.includes(only)) continue;
      const p = c.prepare(backend);
      const { difference, limit } = await p.verify();
      if (!(difference <= limit)) {
        throw new Error(
          `Cannot time ${c.name}: expected a difference of at most ${limit}, found ${difference}`,
        );
      }
      const columns = c.bytes ? "   GB/s    copy" : "GFLOP/s    peak";
      if (columns !== heading) report.line(`${"kernel".padEnd(34)}  ${columns}   share   max diff`);
      heading = columns;
      const peer = c.bytes ? copyLoop(backend, c.bytes) : peak;
      const kernel = { run: p.run, work: c.bytes ?? c.flops };
      // V8 compiles anew while the first calls run.
      for (let i = 0; i < 3; i++) rate(peer, threads), rate(kernel, threads);
      const rates: number[] = [], peaks: number[] = [];
      for (let i = 0; i < ROUNDS; i++) {
        peaks.push(rate(peer, threads));
        rates.push(rate(kernel, threads));
      }
      const found = median(rates), most = median(peaks);
      // Of neighbours in time: another program slows both.
      const share = median(rates.map((r, i) => r / peaks[i]));
      const measured: Record<string, number> = c.bytes
        ? { gbytes: found, copy: most }
        : { gflops: found, peak: most };
      report.row({ kernel: c.name, threads, ...measured, difference, share });
      report.line(
        `${c.name.padEnd(34)}  ${found.toFixed(1).padStart(7)} ${most.toFixed(1).padStart(7)} ` +
          `${(100 * share).toFixed(1).padStart(6)}%   ${difference.toExponential(1)}`,
      );
    }
    await backend.dispose();
  }
}
