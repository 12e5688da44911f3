/**
 * What the threads of a workgroup do together, in two texts: with subgroups, where a device has them and they give
 * the right numbers, and through the workgroup's memory. Kernels call one name and do not know which.
 *
 * @module
 */
import reduceSubgroup from "../../../kernels/inline/reduce_subgroup.wgsl" with { type: "text" };
import reduceWorkgroup from "../../../kernels/inline/reduce_workgroup.wgsl" with { type: "text" };
import rowMaxSubgroup from "../../../kernels/inline/row_max_subgroup.wgsl" with { type: "text" };
import rowMaxWorkgroup from "../../../kernels/inline/row_max_workgroup.wgsl" with { type: "text" };
import scanSubgroup from "../../../kernels/inline/scan_subgroup.wgsl" with { type: "text" };
import scanWorkgroup from "../../../kernels/inline/scan_workgroup.wgsl" with { type: "text" };
import checkSource from "../../../kernels/subgroup_check.wgsl" with { type: "text" };
import { messageOf } from "./adapter.ts";
import type { GpuHost } from "./host.ts";
import type { Kernel } from "./runtime.ts";

export type SharedText = "sum" | "scan" | "row_max";

/** Chrome and Dawn want subgroups enabled by name; naga, which Deno has, knows them and refuses the line. */
export const ENABLE_LINES = ["enable subgroups;", ""] as const;

/** The subgroups that kernels use. */
export interface Subgroups {
  /** Before every kernel that uses them. */
  readonly enable: typeof ENABLE_LINES[number];
  /** The fewest threads of one in any kernel, by what the adapter says. */
  readonly size: number;
}

/** Threads along a row of attention.wgsl. */
const ROW = 8;

const TEXTS: Record<SharedText, { workgroup: string; subgroup: string; size: number }> = {
  sum: { workgroup: reduceWorkgroup, subgroup: reduceSubgroup, size: 1 },
  scan: { workgroup: scanWorkgroup, subgroup: scanSubgroup, size: 1 },
  row_max: { workgroup: rowMaxWorkgroup, subgroup: rowMaxSubgroup, size: ROW },
};

/** The text that a device with these subgroups, or none, takes, and whether it uses them. */
export function sharedText(
  name: SharedText,
  subgroups: Subgroups | undefined,
): { text: string; uses: boolean } {
  const { workgroup, subgroup, size } = TEXTS[name];
  const uses = subgroups !== undefined && subgroups.size >= size;
  return { text: uses ? subgroup : workgroup, uses };
}

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
