import cliProgress from "cli-progress";
import process from "node:process";
import type { LoadProgress, Step } from "../mod.ts";
import type { Io } from "./io.ts";

export interface Reporter {
  /** Of a model that comes over the network. */
  loading(progress: LoadProgress): void;
  step(step: Pick<Step, "index" | "total" | "seconds">): void;
  /** Leaves the terminal as it was; safe to call at any time, and again. */
  stop(): void;
}

/** A bar with step time and time left on a terminal, a plain line for every tenth of the run elsewhere; on stderr. */
export function progress({ quiet, io }: { quiet: boolean; io: Io }): Reporter {
  if (quiet) return { loading() {}, step() {}, stop() {} };
  return io.columns === undefined ? lines(io) : bar(io.columns);
}

function bar(columns: number): Reporter {
  const pace = new Pace();
  let current: InstanceType<typeof cliProgress.SingleBar> | undefined;
  let currentFile: string | undefined;
  // Nothing of the terminal is changed (cursor, wrapping), so that nothing is left changed by a kill.
  const options = { stream: process.stderr, linewrap: true, gracefulExit: false };
  const barsize = Math.max(4, Math.min(40, columns - 45));
  return {
    loading({ file, loaded, total }) {
      if (total === undefined || total < SMALL_BYTES) return;
      if (!current || file !== currentFile) {
        current?.stop();
        const short = file.length > 44 ? `…${file.slice(-43)}` : file;
        current = new cliProgress.SingleBar({
          ...options,
          format: `{bar} {percentage}% of ${megabytes(total)}  ${short}`,
          barsize: Math.min(barsize, Math.max(4, columns - 25 - short.length)),
        }, cliProgress.Presets.shades_classic);
        currentFile = file;
        current.start(total, loaded);
      } else current.update(loaded);
      if (loaded !== total) return;
      current.stop();
      current = undefined;
    },
    step({ index, total, seconds }) {
      const { step, left } = pace.add(seconds, { index, total });
      if (!current || index === 1) {
        current?.stop();
        current = new cliProgress.SingleBar({
          ...options,
          format: "{bar} {value}/{total}  {step} a step, {left} left",
          barsize,
        }, cliProgress.Presets.shades_classic);
        current.start(total, index, { step, left });
      } else current.update(index, { step, left });
      if (index === total) current.stop();
    },
    stop: () => current?.stop(),
  };
}

function lines(io: Io): Reporter {
  const pace = new Pace();
  let printed = 0;
  const printedFiles = new Map<string, number>();
  return {
    loading({ file, loaded, total }) {
      if (total === undefined || total < SMALL_BYTES) return;
      const tenth = Math.floor(loaded / total * 10);
      if (tenth === (printedFiles.get(file) ?? 0)) return;
      printedFiles.set(file, tenth);
      io.err(`${file}: ${tenth * 10}% of ${megabytes(total)}\n`);
    },
    step({ index, total, seconds }) {
      if (index === 1) printed = 0;
      const { step, left } = pace.add(seconds, { index, total });
      const tenth = Math.floor(index / total * 10);
      if (tenth === printed && index !== total) return;
      printed = tenth;
      io.err(`step ${index}/${total}, ${step} a step, ${left} left\n`);
    },
    stop() {},
  };
}

/** Of files below this, which come in a moment, nothing is said. */
const SMALL_BYTES = 1 << 20;

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** The median of the steps so far: one slow step changes no forecast. */
class Pace {
  #seconds: number[] = [];

  add(seconds: number, { index, total }: { index: number; total: number }): { step: string; left: string } {
    if (index === 1) this.#seconds = [];
    this.#seconds.push(seconds);
    const usual = median(this.#seconds);
    return { step: `${usual.toFixed(usual < 1 ? 3 : 1)} s`, left: clock((total - index) * usual) };
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function clock(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(Math.round(seconds) / 60), rest = Math.round(seconds) % 60;
  return minutes < 60 ? `${minutes} min ${rest} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
