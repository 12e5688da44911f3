/** Token merging on the GPU: the dispatches around kernels/tome_*.wgsl, merge.wgsl and unmerge.wgsl. */
import rowsNarrow from "../../../kernels/inline/rows_narrow.wgsl" with { type: "text" };
import rowsWide from "../../../kernels/inline/rows_wide.wgsl" with { type: "text" };
import mergeSource from "../../../kernels/merge.wgsl" with { type: "text" };
import bestSource from "../../../kernels/tome_best.wgsl" with { type: "text" };
import matchSource from "../../../kernels/tome_match.wgsl" with { type: "text" };
import membersSource from "../../../kernels/tome_members.wgsl" with { type: "text" };
import normsSource from "../../../kernels/tome_norms.wgsl" with { type: "text" };
import packSource from "../../../kernels/tome_pack.wgsl" with { type: "text" };
import rowsSource from "../../../kernels/tome_rows.wgsl" with { type: "text" };
import selectSource from "../../../kernels/tome_select.wgsl" with { type: "text" };
import splitSource from "../../../kernels/tome_split.wgsl" with { type: "text" };
import unmergeSource from "../../../kernels/unmerge.wgsl" with { type: "text" };
import type { MatchOptions, MatchValues, MergePlan, PlanValues, Tensor } from "../backend.ts";
import {
  bestMatchesRule,
  matchRule,
  type MatchSizes,
  mergeRule,
  planFromRule,
  unmergeRule,
} from "../shape_rules.ts";
import { foldGroups, type GpuBytes, type GpuRuntime, type GpuTensor, type Kernel } from "./runtime.ts";

/** A plan on the device: three buffers, which live and die with it. */
export interface GpuMergePlan extends MergePlan {
  /** `[B, N]` u32 */
  readonly rowOf: GpuBytes;
  /** `[B, N − R]` u32: where each row's tokens end in `members`; they begin where the row before ends. */
  readonly ends: GpuBytes;
  /** `[B, N]` u32: the tokens of row 0, of row 1, …, ascending in each row. */
  readonly members: GpuBytes;
}

/** Threads of a workgroup of the kernels that give each thread one thing; they override nothing. */
const WORKGROUP = 64;
/** Sources, and destinations, of a tile; as in tome_pack.wgsl and tome_match.wgsl. */
const TILE = 64;
/** Workgroups that matching asks for, so that a large GPU is busy: fewer tiles split their destinations. */
const BUSY = 512;
/** Multiply-adds of one dispatch: 0.2 s at 0.1 TFLOP/s, so that no device is reset. */
const MAX_MACS = 2 ** 33;

const split: Kernel = { name: "tome_split", source: splitSource, shared: ["scan"] };
const best: Kernel = { name: "tome_best", source: bestSource };
const select: Kernel = { name: "tome_select", source: selectSource, shared: ["scan"] };
const rows: Kernel = { name: "tome_rows", source: rowsSource, shared: ["scan"] };
const members: Kernel = { name: "tome_members", source: membersSource };
const norms = rowKernel("tome_norms", normsSource);
const pack = rowKernel("tome_pack", packSource);
const product = rowKernel("tome_match", matchSource);
const mean = rowKernel("merge", mergeSource);
const gather = rowKernel("unmerge", unmergeSource);

interface RowKernel {
  wide: Kernel;
  narrow: Kernel;
}

/** Both ways of reading rows. What is appended leaves the line numbers of the kernel's own file alone. */
function rowKernel(name: string, source: string): RowKernel {
  return {
    wide: { name: `${name}_wide`, source: source + rowsWide },
    narrow: { name: `${name}_narrow`, source: source + rowsNarrow },
  };
}

const multipleOfFour = (...xs: readonly GpuTensor[]) =>
  xs.every((x) => (x.offset | x.stride | x.shape[x.shape.length - 1]) % 4 === 0);

function allocPlan(rt: GpuRuntime, batch: number, tokens: number, merged: number): GpuMergePlan {
  return {
    batch,
    tokens,
    merged,
    rowOf: rt.allocBytes(4 * batch * tokens),
    ends: rt.allocBytes(4 * batch * (tokens - merged)),
    members: rt.allocBytes(4 * batch * tokens),
  };
}

/** Token lists and best matches of one metric: freed by `release`. */
interface Matches {
  sources: GpuBytes;
  destinations: GpuBytes;
  nodeMax: GpuBytes;
  nodeIdx: GpuBytes;
}

function release(rt: GpuRuntime, ...all: readonly GpuBytes[]): void {
  for (const bytes of all) rt.release(bytes);
}

function findMatches(
  rt: GpuRuntime,
  x: GpuTensor,
  { options, sizes }: { options: Omit<MatchOptions, "r">; sizes: MatchSizes },
): Matches {
  const { batch, tokens, channels, sources: s, destinations: d } = sizes;
  const words = (count: number) => rt.allocBytes(4 * count);
  const m: Matches = {
    sources: words(batch * s),
    destinations: words(batch * d),
    nodeMax: words(batch * s),
    nodeIdx: words(batch * s),
  };
  const width = multipleOfFour(x) ? "wide" : "narrow";

  const positions = words(batch * d);
  rt.write(positions, options.randIdx ?? new Int32Array(batch * d));
  const { sx, sy } = options;
  const across = Math.floor(options.width / sx), down = Math.floor(options.height / sy);
  rt.run(split, [tokens, options.width, sx, sy, across, down], [positions, m.sources, m.destinations], [
    batch,
  ]);
  rt.release(positions);

  const lengths = words(batch * tokens);
  rt.run(
    norms[width],
    [batch * tokens, channels, x.offset, x.stride],
    [x, lengths],
    foldGroups(Math.ceil(batch * tokens / 16)),
  );
  const count = Math.ceil(d / TILE);
  const panels = words(batch * count * channels * TILE);
  rt.run(pack[width], [tokens, channels, x.offset, x.stride, d], [x, lengths, m.destinations, panels], [
    Math.ceil(channels / 16),
    count,
    batch,
  ]);

  const tiles = Math.ceil(s / TILE);
  const run = Math.ceil(count / Math.max(1, Math.min(count, Math.floor(BUSY / (batch * tiles)))));
  const splits = Math.ceil(count / run);
  const each = splits === 1
    ? { max: m.nodeMax, idx: m.nodeIdx }
    : { max: words(batch * splits * s), idx: words(batch * splits * s) };
  const macs = batch * TILE * d * channels;
  const most = Math.max(1, Math.floor(MAX_MACS / macs));
  for (let tile = 0; tile < tiles; tile += most) {
    const now = Math.min(most, tiles - tile);
    rt.run(
      product[width],
      [tokens, channels, x.offset, x.stride, s, d, run, tile],
      [x, lengths, m.sources, panels, each.max, each.idx],
      [now, splits, batch],
      now * macs,
    );
  }
  release(rt, panels, lengths);
  if (splits > 1) {
    const groups = [Math.ceil(s / WORKGROUP), batch] as const;
    rt.run(best, [s, splits], [each.max, each.idx, m.nodeMax, m.nodeIdx], groups);
    release(rt, each.idx, each.max);
  }
  return m;
}

/** `ends` and `members` of a plan whose `rowOf` is there. */
function listMembers(rt: GpuRuntime, plan: GpuMergePlan): void {
  const { batch, tokens, merged, rowOf, ends } = plan;
  const sizes = [tokens, tokens - merged];
  const buckets = rt.allocBytes(4 * batch * tokens);
  rt.run(rows, sizes, [rowOf, ends, buckets], [batch]);
  rt.run(members, sizes, [rowOf, ends, buckets, plan.members], [Math.ceil(tokens / WORKGROUP), batch]);
  rt.release(buckets);
}

export function match(rt: GpuRuntime, metric: Tensor, options: MatchOptions): GpuMergePlan {
  const sizes = matchRule(metric, options);
  const { batch, tokens, sources, destinations } = sizes;
  const plan = allocPlan(rt, batch, tokens, options.r);
  const m = findMatches(rt, metric as GpuTensor, { options, sizes });
  rt.run(
    select,
    [sources, destinations, options.r],
    [m.nodeMax, m.nodeIdx, m.sources, m.destinations, plan.rowOf],
    [batch],
  );
  release(rt, m.nodeIdx, m.nodeMax, m.destinations, m.sources);
  listMembers(rt, plan);
  return plan;
}

export async function bestMatches(
  rt: GpuRuntime,
  metric: Tensor,
  options: Omit<MatchOptions, "r">,
): Promise<MatchValues> {
  const sizes = bestMatchesRule(metric, options);
  const m = findMatches(rt, metric as GpuTensor, { options, sizes });
  const bytes = 4 * sizes.batch * sizes.sources;
  const values = Promise.all([rt.readBytes(m.nodeMax, 0, bytes), rt.readBytes(m.nodeIdx, 0, bytes)]);
  // The copies stand in the queue before whatever uses this memory next, and the scope may end before they are made.
  release(rt, m.nodeIdx, m.nodeMax, m.destinations, m.sources);
  const [nodeMax, nodeIdx] = await values;
  return { nodeMax: new Float32Array(nodeMax), nodeIdx: new Int32Array(nodeIdx) };
}

export function planFrom(
  rt: GpuRuntime,
  values: PlanValues,
  shape: { batch: number; tokens: number; merged: number },
): GpuMergePlan {
  planFromRule(values, shape);
  const plan = allocPlan(rt, shape.batch, shape.tokens, shape.merged);
  rt.write(plan.rowOf, values.rowOf);
  listMembers(rt, plan);
  return plan;
}

export async function readPlan(rt: GpuRuntime, plan: MergePlan): Promise<PlanValues> {
  const bytes = 4 * plan.batch * plan.tokens;
  return { rowOf: new Int32Array(await rt.readBytes((plan as GpuMergePlan).rowOf, 0, bytes)) };
}

export function merge(rt: GpuRuntime, plan: MergePlan, x: Tensor): GpuTensor {
  const out = rt.alloc(mergeRule(plan, x));
  const { tokens, merged, ends, members } = plan as GpuMergePlan;
  const from = x as GpuTensor;
  const [batch, kept, channels] = out.shape;
  const count = batch * kept * channels;
  const wide = multipleOfFour(from, out);
  rt.run(
    wide ? mean.wide : mean.narrow,
    [tokens, tokens - merged, channels, count, from.offset, from.stride, out.offset, out.stride],
    [from, ends, members, out],
    foldGroups(Math.ceil(count / (wide ? 4 : 1) / WORKGROUP)),
  );
  return out;
}

export function unmerge(rt: GpuRuntime, plan: MergePlan, y: Tensor, residual?: Tensor): GpuTensor {
  const out = rt.alloc(unmergeRule(plan, y, residual));
  const { tokens, merged, rowOf } = plan as GpuMergePlan;
  const from = y as GpuTensor;
  const added = (residual ?? y) as GpuTensor;
  const [batch, , channels] = out.shape;
  const count = batch * tokens * channels;
  const wide = multipleOfFour(from, added, out);
  rt.run(
    wide ? gather.wide : gather.narrow,
    [
      tokens,
      tokens - merged,
      channels,
      count,
      from.offset,
      from.stride,
      out.offset,
      out.stride,
      residual ? 1 : 0,
      added.offset,
      added.stride,
    ],
    [from, rowOf, added, out],
    foldGroups(Math.ceil(count / (wide ? 4 : 1) / WORKGROUP)),
  );
  return out;
}
