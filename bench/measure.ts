/** What the benchmarks measure with. */
import process from "node:process";
import { Op } from "../asm/op.ts";
import type { WasmBackend } from "../src/backend/wasm/backend.ts";

/** Prints a line for people, or collects what `--json` prints at the end. */
export interface Report {
  line(text: string): void;
  row(row: Record<string, string | number>): void;
}

/** Work in floating-point operations or bytes, and how to do it once. */
export interface Workload {
  run: () => void;
  work: number;
}

/** Work that takes some 100 µs per task, enough of it for every thread. */
const PEAK_ROUNDS = 50_000;
const PEAK_TASKS = 16;

/** The SIMD peak: a loop of multiply-adds on registers. */
export function peakLoop(backend: WasmBackend): Workload {
  const at = backend.host.reserve(32 + 16 * PEAK_TASKS);
  backend.host.f32.set([0.5, 0.25, 0.75, 0.125, 0.5, 0.25, 1, 0.75], at / 4);
  return {
    run: () => backend.host.run(Op.Peak, PEAK_TASKS, [at, PEAK_ROUNDS]),
    work: 2 * 4 * 12 * PEAK_ROUNDS * PEAK_TASKS,
  };
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}

/** One thread is timed by the process's CPU time, so that a busy machine matters little; several by the clock. */
export function milliseconds(threads: number): number {
  if (threads > 1) return performance.now();
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** GFLOP/s, or GB/s, over at least `slice` ms. */
export function rate({ run, work }: Workload, threads: number, slice = 25): number {
  const start = milliseconds(threads);
  let calls = 0;
  let end = start;
  while (end - start < slice) {
    run();
    calls++;
    end = milliseconds(threads);
  }
  return calls * work / (end - start) / 1e6;
}
