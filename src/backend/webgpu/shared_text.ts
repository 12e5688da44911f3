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
import type { SharedText } from "./runtime.ts";

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
export const ROW = 8;

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
