/**
 * What each operation of the contract accepts, and the shape of what it returns. Every backend asks here
 * first, so that a wrong call fails with the same error on all of them: `TypeError` for the wrong kind of
 * argument, `RangeError` for a size or value that does not fit; the message names the operation, what was
 * expected and what was found.
 *
 * @module
 */
import type {
  Activation,
  AttentionOptions,
  ConvOptions,
  Epilogue,
  HostTensor,
  MatchOptions,
  MergePlan,
  NormWeight,
  PlanValues,
  Tensor,
  Weight,
} from "./backend.ts";

type Shape = readonly number[];

const show = (shape: Shape) => `[${shape.join(", ")}]`;

/** Number of elements. */
export const sizeOf = (shape: Shape): number => shape.reduce((a, n) => a * n, 1);

const sameShape = (a: Shape, b: Shape) => a.length === b.length && a.every((n, i) => n === b[i]);

const isCount = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) > 0;

function refuse(op: string, expected: string, found: unknown): never {
  throw new RangeError(`Cannot ${op}: expected ${expected}, found ${found}`);
}

function refuseKind(op: string, expected: string, found: unknown): never {
  throw new TypeError(`Cannot ${op}: expected ${expected}, found ${found}`);
}

function needShape(op: string, what: string, expected: Shape, found: Shape): void {
  if (!sameShape(expected, found)) refuse(op, `${what} of shape ${show(expected)}`, show(found));
}

function needRank(op: string, x: Tensor, names: string): void {
  const rank = names.split(", ").length;
  if (x.shape.length !== rank) refuse(op, `a tensor [${names}]`, show(x.shape));
}

function needDims(op: string, shape: Shape): void {
  if (shape.length === 0 || !shape.every(isCount)) {
    refuse(op, "dimensions that are positive integers", show(shape));
  }
}

function needRange(op: string, from: number, to: number, size: number): void {
  if (!(Number.isInteger(from) && Number.isInteger(to) && 0 <= from && from < to && to <= size)) {
    refuse(op, `a range 0 ≤ from < to ≤ ${size}`, `${from}..${to}`);
  }
}

function needEps(op: string, eps: number): void {
  if (!(Number.isFinite(eps) && eps >= 0)) refuse(op, "eps to be a number of at least 0", eps);
}

// Weights.

const ELEMENT_BYTES = { F16: 2, BF16: 2, F32: 4 } as const;

/** Checks that `data` has the bytes that dtype and shape call for. Backends that read no values need not ask. */
export function checkHostData(t: HostTensor): void {
  const bytes = sizeOf(t.shape) * ELEMENT_BYTES[t.dtype];
  if (t.data.byteLength !== bytes) refuse(`load "${t.name}"`, `${bytes} bytes`, t.data.byteLength);
}

function checkHost(t: HostTensor): void {
  needDims(`load "${t.name}"`, t.shape);
  if (!(t.dtype in ELEMENT_BYTES)) refuseKind(`load "${t.name}"`, "dtype F16, BF16 or F32", t.dtype);
}

/** Stacked weights are named by all their paths, joined by "+". */
export function linearWeightRule(weights: readonly HostTensor[], biases?: readonly HostTensor[]): Weight {
  if (weights.length === 0) refuse("run linearWeight", "at least one matrix", "none");
  if (biases && biases.length !== weights.length) {
    refuse(`load "${weights[0].name}"`, `${weights.length} biases or none`, biases.length);
  }
  const cin = weights[0].shape[1];
  for (const [i, w] of weights.entries()) {
    checkHost(w);
    if (w.shape.length !== 2) refuse(`load "${w.name}"`, "a matrix [out, in]", show(w.shape));
    if (w.shape[1] !== cin) refuse(`load "${w.name}"`, `a matrix [out, ${cin}]`, show(w.shape));
    if (biases) {
      checkHost(biases[i]);
      needShape(`load "${biases[i].name}"`, "a bias", [w.shape[0]], biases[i].shape);
    }
  }
  const cout = weights.reduce((sum, w) => sum + w.shape[0], 0);
  return { name: weights.map((w) => w.name).join("+"), kind: "linear", cin, cout, kernel: 1 };
}

export function convWeightRule(weight: HostTensor, bias?: HostTensor): Weight {
  checkHost(weight);
  const [cout, cin, kernel, width] = weight.shape;
  if (weight.shape.length !== 4 || kernel !== width) {
    refuse(`load "${weight.name}"`, "[out, in, k, k]", show(weight.shape));
  }
  if (bias) {
    checkHost(bias);
    needShape(`load "${bias.name}"`, "a bias", [cout], bias.shape);
  }
  return { name: weight.name, kind: "conv", cin, cout, kernel };
}

export function normWeightRule(weight: HostTensor, bias: HostTensor): NormWeight {
  checkHost(weight);
  checkHost(bias);
  if (weight.shape.length !== 1) refuse(`load "${weight.name}"`, "a vector [channels]", show(weight.shape));
  needShape(`load "${bias.name}"`, "a bias", weight.shape, bias.shape);
  return { name: weight.name, channels: weight.shape[0] };
}

// Memory.

export function uploadRule(data: Float32Array, shape: Shape): number[] {
  needDims("upload", shape);
  if (!(data instanceof Float32Array)) refuseKind("upload", "a Float32Array", typeof data);
  if (data.length !== sizeOf(shape)) {
    refuse("upload", `${sizeOf(shape)} values for shape ${show(shape)}`, data.length);
  }
  return [...shape];
}

export function rowsRule(x: Tensor, from: number, to: number): number[] {
  if (x.shape.length < 2) refuse("take rows", "a tensor of at least two dimensions", show(x.shape));
  needRange("take rows", from, to, x.shape[0]);
  return [to - from, ...x.shape.slice(1)];
}

export function columnsRule(x: Tensor, from: number, to: number): number[] {
  needRange("take columns", from, to, x.shape[x.shape.length - 1]);
  return [...x.shape.slice(0, -1), to - from];
}

export function reshapeRule(x: Tensor, shape: Shape): number[] {
  needDims("reshape", shape);
  const cols = x.shape[x.shape.length - 1];
  if (shape[shape.length - 1] !== cols || sizeOf(shape) !== sizeOf(x.shape)) {
    refuse("reshape", `${sizeOf(x.shape)} elements in rows of ${cols}, as in ${show(x.shape)}`, show(shape));
  }
  return [...shape];
}

export function emptyRule(shape: Shape): number[] {
  needDims("make an empty tensor", shape);
  return [...shape];
}

export function writeRule(target: Tensor, source: Tensor): void {
  needShape("write", "a source", target.shape, source.shape);
}

// Layers.

function needActivation(op: string, kind: Activation): void {
  switch (kind) {
    case "silu":
    case "gelu":
    case "quick_gelu":
      return;
    default:
      kind satisfies never;
      refuseKind(op, "the activation silu, gelu or quick_gelu", kind);
  }
}

function needEpilogue(op: string, out: Shape, e: Epilogue): void {
  if (e.activation !== undefined) needActivation(op, e.activation);
  if (e.residual) needShape(op, "a residual", out, e.residual.shape);
  if (e.rowBias) needShape(op, "a row bias", [out[0], out[out.length - 1]], e.rowBias.shape);
}

export function linearRule(x: Tensor, w: Weight, options: Epilogue = {}): number[] {
  const op = `run linear "${w.name}"`;
  if (w.kind !== "linear") refuseKind(op, "a linear weight", `a ${w.kind} weight`);
  if (x.shape[x.shape.length - 1] !== w.cin) refuse(op, `a tensor [..., ${w.cin}]`, show(x.shape));
  const out = [...x.shape.slice(0, -1), w.cout];
  needEpilogue(op, out, options);
  return out;
}

/** Zeros at top, left, bottom and right. */
export function convPad(w: Weight, options: ConvOptions = {}): readonly [number, number, number, number] {
  const half = w.kernel >> 1;
  return options.pad ?? [half, half, half, half];
}

export function conv2dRule(x: Tensor, w: Weight, options: ConvOptions = {}): number[] {
  const op = `run conv2d "${w.name}"`;
  if (w.kind !== "conv") refuseKind(op, "a conv weight", `a ${w.kind} weight`);
  needRank(op, x, "B, H, W, C");
  const [batch, height, width, channels] = x.shape;
  if (channels !== w.cin) refuse(op, `a tensor [B, H, W, ${w.cin}]`, show(x.shape));
  const stride = options.stride ?? 1;
  if (stride !== 1 && stride !== 2) refuse(op, "stride 1 or 2", stride);
  const pad = convPad(w, options);
  if (pad.length !== 4 || !pad.every((n) => Number.isInteger(n) && n >= 0)) {
    refuse(op, "pad to be four integers of at least 0", show(pad));
  }
  const [top, left, bottom, right] = pad;
  const outHeight = Math.floor((height + top + bottom - w.kernel) / stride) + 1;
  const outWidth = Math.floor((width + left + right - w.kernel) / stride) + 1;
  if (outHeight < 1 || outWidth < 1) {
    refuse(
      op,
      `a padded image of at least ${w.kernel}×${w.kernel}`,
      `${show(x.shape)} padded by ${show(pad)}`,
    );
  }
  const out = [batch, outHeight, outWidth, w.cout];
  needEpilogue(op, out, options);
  return out;
}

export function groupNormRule(x: Tensor, w: NormWeight, options: { groups: number; eps: number }): number[] {
  const op = `run groupNorm "${w.name}"`;
  if (x.shape.length !== 3 && x.shape.length !== 4) refuse(op, "[B, H, W, C] or [B, N, C]", show(x.shape));
  if (x.shape[x.shape.length - 1] !== w.channels) refuse(op, `a tensor [..., ${w.channels}]`, show(x.shape));
  if (!isCount(options.groups) || w.channels % options.groups !== 0) {
    refuse(op, `a number of groups that divides ${w.channels}`, options.groups);
  }
  needEps(op, options.eps);
  return [...x.shape];
}

export function groupNormAffineRule(
  x: Tensor,
  w: NormWeight,
  options: { groups: number; eps: number },
): number[] {
  const [batch] = groupNormRule(x, w, options);
  return [batch, 2 * w.channels];
}

export function affineRule(x: Tensor, scaleShift: Tensor): number[] {
  if (x.shape.length < 2) refuse("run affine", "a tensor [B, ..., C]", show(x.shape));
  needShape("run affine", "scale and shift", [x.shape[0], 2 * x.shape[x.shape.length - 1]], scaleShift.shape);
  return [...x.shape];
}

export function layerNormRule(x: Tensor, w: NormWeight, options: { eps: number }): number[] {
  const op = `run layerNorm "${w.name}"`;
  if (x.shape[x.shape.length - 1] !== w.channels) refuse(op, `a tensor [..., ${w.channels}]`, show(x.shape));
  needEps(op, options.eps);
  return [...x.shape];
}

export function attentionRule(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): number[] {
  const op = options.name === undefined ? "run attention" : `run attention "${options.name}"`;
  needRank(op, q, "B, N, C");
  needRank(op, k, "B, M, C");
  const [batch, tokens, channels] = q.shape;
  if (k.shape[0] !== batch || k.shape[2] !== channels) {
    refuse(op, `keys of shape [${batch}, M, ${channels}]`, show(k.shape));
  }
  needShape(op, "values", k.shape, v.shape);
  if (!isCount(options.heads) || channels % options.heads !== 0) {
    refuse(op, `a number of heads that divides ${channels}`, options.heads);
  }
  if (options.causal && k.shape[1] !== tokens) refuse(op, `${tokens} keys for causal queries`, k.shape[1]);
  if (options.scale !== undefined && !Number.isFinite(options.scale)) {
    refuse(op, "a finite scale", options.scale);
  }
  return [...q.shape];
}

export function gegluRule(x: Tensor): number[] {
  const cols = x.shape[x.shape.length - 1];
  if (cols % 2 !== 0) refuse("run geglu", "an even number of channels", show(x.shape));
  return [...x.shape.slice(0, -1), cols / 2];
}

export function activationRule(x: Tensor, kind: Activation): number[] {
  needActivation("run activation", kind);
  return [...x.shape];
}

export function upsampleRule(x: Tensor, height: number, width: number): number[] {
  needRank("upsample", x, "B, H, W, C");
  const [batch, h, w, channels] = x.shape;
  if (height !== 2 * h && height !== 2 * h - 1) refuse("upsample", `height ${2 * h} or ${2 * h - 1}`, height);
  if (width !== 2 * w && width !== 2 * w - 1) refuse("upsample", `width ${2 * w} or ${2 * w - 1}`, width);
  return [batch, height, width, channels];
}

export function concatRule(a: Tensor, b: Tensor): number[] {
  const lead = a.shape.slice(0, -1);
  if (!sameShape(lead, b.shape.slice(0, -1))) {
    refuse("concat", `a second tensor [${[...lead, "C"].join(", ")}]`, show(b.shape));
  }
  return [...lead, a.shape[a.shape.length - 1] + b.shape[b.shape.length - 1]];
}

export function stackRule(parts: readonly Tensor[]): number[] {
  if (parts.length === 0) refuse("stack", "at least one tensor", "none");
  const tail = parts[0].shape.slice(1);
  if (tail.length === 0) refuse("stack", "tensors of at least two dimensions", show(parts[0].shape));
  for (const part of parts) {
    if (!sameShape(tail, part.shape.slice(1))) {
      refuse("stack", `tensors [${["B", ...tail].join(", ")}]`, show(part.shape));
    }
  }
  return [parts.reduce((sum, part) => sum + part.shape[0], 0), ...tail];
}

export function lincombRule(terms: readonly (readonly [number, Tensor])[]): number[] {
  if (terms.length < 1 || terms.length > 6) refuse("run lincomb", "1 to 6 terms", terms.length);
  const [, first] = terms[0];
  for (const [coefficient, x] of terms) {
    if (typeof coefficient !== "number") {
      refuseKind("run lincomb", "coefficients that are numbers", typeof coefficient);
    }
    needShape("run lincomb", "terms", first.shape, x.shape);
  }
  return [...first.shape];
}

export function blendRule(mask: Tensor, a: Tensor, b: Tensor): number[] {
  needShape("blend", "a second tensor", a.shape, b.shape);
  needShape("blend", "a mask", [...a.shape.slice(0, -1), 1], mask.shape);
  return [...a.shape];
}

// Token merging.

/** The sizes of a matching: of `tokens`, `destinations` are one per whole cell and `sources` are the rest. */
export interface MatchSizes {
  batch: number;
  tokens: number;
  channels: number;
  destinations: number;
  sources: number;
}

function matchSizes(op: string, metric: Tensor, options: Omit<MatchOptions, "r">): MatchSizes {
  needRank(op, metric, "B, N, C");
  const { height, width, sx, sy, randIdx } = options;
  for (const [name, value] of Object.entries({ height, width, sx, sy })) {
    if (!isCount(value)) refuse(op, `${name} to be a positive integer`, value);
  }
  const [batch, tokens, channels] = metric.shape;
  if (height * width !== tokens) refuse(op, `${height}×${width} = ${height * width} tokens`, tokens);
  const destinations = Math.floor(height / sy) * Math.floor(width / sx);
  if (destinations === 0) {
    refuse(op, `a grid of at least one cell of ${sy} rows × ${sx} columns`, `${height}×${width}`);
  }
  if (randIdx !== undefined) {
    if (!(randIdx instanceof Int32Array)) refuseKind(op, "randIdx to be an Int32Array", typeof randIdx);
    if (randIdx.length !== batch * destinations) {
      refuse(op, `${batch} · ${destinations} positions in randIdx`, randIdx.length);
    }
    const wrong = randIdx.findIndex((at) => at < 0 || at >= sx * sy);
    if (wrong >= 0) refuse(op, `randIdx[${wrong}] in 0..${sx * sy - 1}`, randIdx[wrong]);
  }
  return { batch, tokens, channels, destinations, sources: tokens - destinations };
}

export function matchRule(metric: Tensor, options: MatchOptions): MatchSizes {
  const op = options.name === undefined ? "match" : `match "${options.name}"`;
  const sizes = matchSizes(op, metric, options);
  if (!isCount(options.r) || options.r > sizes.sources) {
    refuse(op, `r in 1..${sizes.sources} (tokens less destinations)`, options.r);
  }
  return sizes;
}

export function bestMatchesRule(metric: Tensor, options: Omit<MatchOptions, "r">): MatchSizes {
  const op = options.name === undefined ? "run bestMatches" : `run bestMatches "${options.name}"`;
  const sizes = matchSizes(op, metric, options);
  if (sizes.sources === 0) refuse(op, "cells of more than one token", `${options.sy}×${options.sx}`);
  return sizes;
}

export function planFromRule(values: PlanValues, shape: MergePlan): void {
  const { batch, tokens, merged } = shape;
  if (!isCount(batch) || !isCount(tokens)) {
    refuse("run planFrom", "batch and tokens to be positive integers", `${batch} and ${tokens}`);
  }
  if (!(Number.isInteger(merged) && 0 <= merged && merged < tokens)) {
    refuse("run planFrom", `merged in 0..${tokens - 1}`, merged);
  }
  const { rowOf } = values;
  if (!(rowOf instanceof Int32Array)) refuseKind("run planFrom", "rowOf to be an Int32Array", typeof rowOf);
  if (rowOf.length !== batch * tokens) {
    refuse("run planFrom", `${batch} · ${tokens} rows in rowOf`, rowOf.length);
  }
  const kept = tokens - merged;
  for (let b = 0; b < batch; b++) {
    const used = new Uint8Array(kept);
    for (let n = b * tokens; n < (b + 1) * tokens; n++) {
      if (!(rowOf[n] >= 0 && rowOf[n] < kept)) {
        refuse("run planFrom", `rowOf[${n}] in 0..${kept - 1}`, rowOf[n]);
      }
      used[rowOf[n]] = 1;
    }
    const hole = used.indexOf(0);
    if (hole >= 0) refuse("run planFrom", `every row to have a token`, `none for row ${hole} of image ${b}`);
  }
}

export function mergeRule(plan: MergePlan, x: Tensor): number[] {
  needRank("merge", x, "B, N, C");
  needShape("merge", "a tensor", [plan.batch, plan.tokens, x.shape[2]], x.shape);
  return [plan.batch, plan.tokens - plan.merged, x.shape[2]];
}

export function unmergeRule(plan: MergePlan, y: Tensor, residual?: Tensor): number[] {
  needRank("unmerge", y, "B, N, C");
  needShape("unmerge", "a tensor", [plan.batch, plan.tokens - plan.merged, y.shape[2]], y.shape);
  const out = [plan.batch, plan.tokens, y.shape[2]];
  if (residual) needShape("unmerge", "a residual", out, residual.shape);
  return out;
}
