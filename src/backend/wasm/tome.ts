/** Token merging on the CPU: what the kernels of asm/tome.ts need around them. */
import { Op } from "../../../asm/op.ts";
import type { MatchOptions, MatchValues, MergePlan, PlanValues, Tensor } from "../backend.ts";
import {
  bestMatchesRule,
  matchRule,
  type MatchSizes,
  mergeRule,
  planFromRule,
  unmergeRule,
} from "../shape_rules.ts";
import { splitTokens } from "../token_lists.ts";
import type { Runtime, WasmTensor } from "./runtime.ts";

/** A plan in WebAssembly memory: one allocation, at `ptr`, that holds all three arrays. */
export interface WasmMergePlan extends MergePlan {
  readonly ptr: number;
  /** `[B, N]` i32 */
  readonly rowOf: number;
  /** `[B, N]` i32: the tokens of row 0, of row 1, … */
  readonly members: number;
  /** `[B, N − R + 1]` i32: where each row's tokens begin in `members`. */
  readonly starts: number;
}

const SCRATCH = 4 << 20;
/** Rows of merge and unmerge that one task takes: enough work to be worth handing out. */
const ROWS = 128;

function allocPlan(rt: Runtime, batch: number, tokens: number, merged: number): WasmMergePlan {
  const list = 4 * batch * tokens;
  const ptr = rt.allocBytes(2 * list + 4 * batch * (tokens - merged + 1));
  return { batch, tokens, merged, ptr, rowOf: ptr, members: ptr + list, starts: ptr + 2 * list };
}

/** Token lists and best matches of one metric: freed by `release`. */
interface Matches {
  sources: number;
  destinations: number;
  nodeMax: number;
  nodeIdx: number;
}

function findMatches(
  rt: Runtime,
  x: WasmTensor,
  { options, sizes }: { options: Omit<MatchOptions, "r">; sizes: MatchSizes },
): Matches {
  const { batch, tokens, channels, sources: s, destinations: d } = sizes;
  const rows = rowsPerTask(rt, sizes);
  const lists = {
    sources: rt.allocBytes(4 * batch * s),
    destinations: rt.allocBytes(4 * batch * d),
    nodeMax: rt.allocBytes(4 * batch * s),
    nodeIdx: rt.allocBytes(4 * batch * s),
  };
  const panels = rt.allocBytes(4 * batch * ((d + 7) & ~7) * channels);
  const i32 = rt.i32;
  for (let b = 0; b < batch; b++) {
    const at = { s: lists.sources / 4 + b * s, d: lists.destinations / 4 + b * d };
    splitTokens(options, {
      sources: i32.subarray(at.s, at.s + s),
      destinations: i32.subarray(at.d, at.d + d),
      randIdx: options.randIdx,
      from: b * d,
    });
  }
  const packs = Math.ceil(d / 64);
  rt.run(Op.PackDestinations, batch * packs, [
    x.ptr,
    x.stride,
    lists.destinations,
    panels,
    tokens,
    channels,
    d,
    packs,
  ]);
  const blocks = Math.ceil(s / rows);
  rt.run(Op.Match, batch * blocks, [
    x.ptr,
    x.stride,
    lists.sources,
    panels,
    lists.nodeMax,
    lists.nodeIdx,
    tokens,
    channels,
    s,
    d,
    rows,
    blocks,
  ]);
  rt.release(panels);
  return lists;
}

/** As many as the scratch memory holds, 50 at most; fewer when threads would have no work. In strips of five. */
function rowsPerTask(rt: Runtime, { batch, channels, sources }: MatchSizes): number {
  const fit = Math.floor((SCRATCH - 20 * channels) / (32 * channels + 320)) * 5;
  if (fit < 5) throw new RangeError(`Cannot match: expected at most 80000 channels, found ${channels}`);
  let rows = Math.min(50, fit);
  while (rows > 10 && batch * Math.ceil(sources / rows) < 6 * rt.threads) rows -= 5;
  return rows;
}

function release(rt: Runtime, m: Matches): void {
  for (const ptr of [m.nodeIdx, m.nodeMax, m.destinations, m.sources]) rt.release(ptr);
}

export function match(rt: Runtime, metric: Tensor, options: MatchOptions): WasmMergePlan {
  const sizes = matchRule(metric, options);
  const { batch, tokens, destinations } = sizes;
  const m = findMatches(rt, metric as WasmTensor, { options, sizes });
  const plan = allocPlan(rt, batch, tokens, options.r);
  rt.run(Op.Select, batch, [
    m.nodeMax,
    m.nodeIdx,
    m.sources,
    m.destinations,
    plan.rowOf,
    plan.starts,
    plan.members,
    tokens,
    destinations,
    options.r,
  ]);
  release(rt, m);
  return plan;
}

export function bestMatches(rt: Runtime, metric: Tensor, options: Omit<MatchOptions, "r">): MatchValues {
  const sizes = bestMatchesRule(metric, options);
  const m = findMatches(rt, metric as WasmTensor, { options, sizes });
  const n = sizes.batch * sizes.sources;
  const values = {
    nodeMax: rt.f32.slice(m.nodeMax / 4, m.nodeMax / 4 + n),
    nodeIdx: rt.i32.slice(m.nodeIdx / 4, m.nodeIdx / 4 + n),
  };
  release(rt, m);
  return values;
}

export function planFrom(
  rt: Runtime,
  values: PlanValues,
  shape: { batch: number; tokens: number; merged: number },
): WasmMergePlan {
  planFromRule(values, shape);
  const { batch, tokens, merged } = shape;
  const plan = allocPlan(rt, batch, tokens, merged);
  rt.i32.set(values.rowOf, plan.rowOf / 4);
  rt.run(Op.ListMembers, batch, [0, 0, 0, 0, plan.rowOf, plan.starts, plan.members, tokens, 0, merged]);
  return plan;
}

export function readPlan(rt: Runtime, plan: MergePlan): PlanValues {
  const at = (plan as WasmMergePlan).rowOf / 4;
  return { rowOf: rt.i32.slice(at, at + plan.batch * plan.tokens) };
}

export function merge(rt: Runtime, plan: MergePlan, x: Tensor): WasmTensor {
  const out = rt.alloc(mergeRule(plan, x));
  const { ptr, stride } = x as WasmTensor;
  const { batch, tokens, merged, starts, members } = plan as WasmMergePlan;
  const kept = tokens - merged;
  const tasks = Math.ceil(kept / ROWS);
  rt.run(Op.Merge, batch * tasks, [
    ptr,
    stride,
    out.ptr,
    out.stride,
    starts,
    members,
    tokens,
    kept,
    out.shape[2],
    ROWS,
    tasks,
  ]);
  return out;
}

export function unmerge(rt: Runtime, plan: MergePlan, y: Tensor, residual?: Tensor): WasmTensor {
  const out = rt.alloc(unmergeRule(plan, y, residual));
  const { ptr, stride } = y as WasmTensor;
  const { batch, tokens, merged, rowOf } = plan as WasmMergePlan;
  const tasks = Math.ceil(tokens / ROWS);
  rt.run(Op.Unmerge, batch * tasks, [
    ptr,
    stride,
    out.ptr,
    out.stride,
    rowOf,
    (residual as WasmTensor | undefined)?.ptr ?? 0,
    residual?.stride ?? 0,
    tokens,
    tokens - merged,
    out.shape[2],
    ROWS,
    tasks,
  ]);
  return out;
}
