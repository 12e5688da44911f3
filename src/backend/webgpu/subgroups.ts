/**
 * Whether a device's subgroups do what the texts with subgroups expect of them.
 *
 * @module
 */
import checkSource from "../../../kernels/subgroup_check.wgsl" with { type: "text" };
import { messageOf } from "./adapter.ts";
import type { GpuHost } from "./host.ts";
import type { Kernel } from "./runtime.ts";
import { ROW } from "./shared_text.ts";

/** Threads of a workgroup, the first as many as `scan` has; the last fewer than a subgroup. */
const SIZES = [256, 64, 2];

const check: Kernel = { name: "subgroup_check", source: checkSource, shared: ["sum", "scan", "row_max"] };

/** @throws if a text with subgroups does not compile on this device, or gives wrong numbers. */
export async function checkSubgroups(host: GpuHost): Promise<void> {
  const { size: least } = host.subgroups!;
  const reads = SIZES.map((threads) => {
    const y = host.allocBytes(32 * threads);
    host.run({ ...check, constants: { WG: threads } }, [threads < ROW ? 0 : 1], [y], [1], threads);
    const read = host.readBytes(y);
    host.release(y);
    return read;
  });
  for (const [i, bytes] of (await Promise.all(reads)).entries()) {
    const threads = SIZES[i], y = new Float32Array(bytes), size = y[0];
    const compare = (what: string, expected: number, found: number) => {
      if (found !== expected) throw new Error(`${what} is wrong: expected ${expected}, found ${found}`);
    };
    compare("a subgroup's size", Math.max(size, Math.min(threads, least)), size);
    const total = threads * (threads - 1) / 2;
    for (let t = 0; t < threads; t++) {
      const [own, place, sum, count, before, all, highest, lowest] = y.subarray(8 * t);
      const row = t - t % ROW;
      compare("a subgroup's size", size, own);
      compare("a place in a subgroup", t % size, place);
      compare("a sum", total, sum);
      compare("a count", threads, count);
      if (threads === SIZES[0]) {
        compare("a running sum", t * (t - 1) / 2, before);
        compare("a total", total, all);
      }
      if (threads >= ROW) {
        compare("a row's maximum", row + ROW - 1, highest);
        compare("a row's minimum", row, -lowest);
      }
    }
  }
}

/** Why a check failed, in a few words: of what compilers say at length, the first lines. */
export function reasonOf(error: unknown): string {
  return messageOf(error).split("\n").map((line) => line.trim()).filter(Boolean).slice(0, 2).join(" ");
}
