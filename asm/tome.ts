import { madd } from "./inline/madd";
import { MR, packFive } from "./gemm";

/**
 * The kernels of token merging (arXiv 2303.17604): which tokens are alike, which of them merge, and the two maps.
 *
 * Shapes: B images of N tokens with C channels; S = N − D tokens are sources, D destinations, both listed in
 * ascending order; R sources merge, K = N − R rows remain. Rows of tokens may lie at any stride (in elements)
 * and start at any 4-byte boundary; images follow each other without a gap. Lists and plans are contiguous.
 */

/** Destinations that one PackDestinations task takes. */
// @ts-ignore: decorator
@inline
const PACK: i32 = 64;
/** Bytes of destinations that pass over all strips of a task before the next ones do: the second-level cache. */
// @ts-ignore: decorator
@inline
const GROUP_BYTES: i32 = 393216;

/**
 * Packs x/‖x‖ of the destinations into panels of 8: [B][⌈D/8⌉][C][8]. The columns that fill up the last panel
 * repeat its first one: they can only tie with it, and a tie goes to the lower destination.
 *
 * Words: 0 x, 1 x stride, 2 destinations [B, D], 3 panels, 4 N, 5 C, 6 D, 7 tasks per image (⌈D/64⌉).
 * Scratch: 8 rows of C floats.
 */
export function packDestinationsTask(p: usize, task: i32, scratch: usize): void {
  const x = <usize>load<u32>(p);
  const stride = <usize>load<u32>(p, 4) << 2;
  const tokens = load<i32>(p, 16);
  const channels = load<i32>(p, 20);
  const count = load<i32>(p, 24);
  const tasks = load<i32>(p, 28);

  const image = task / tasks;
  const first = (task % tasks) * PACK;
  const last = min(count, first + PACK);
  const list = <usize>load<u32>(p, 8) + (<usize>(image * count) << 2);
  const rows = x + <usize>(image * tokens) * stride;
  const line = <usize>channels << 2;
  let to = <usize>load<u32>(p, 12) + (<usize>(image * ((count + 7) >> 3)) + <usize>(first >> 3)) * (line << 3);
  for (let d = first; d < last; d += 8) {
    for (let j = 0; j < 8; ++j) {
      const token = load<i32>(list + (<usize>(d + j < count ? d + j : d) << 2));
      normalise(rows + <usize>token * stride, channels, scratch + <usize>j * line);
    }
    interleave(scratch, line, to);
    to += line << 3;
  }
}

/** x/‖x‖, or zeros when the norm is zero. The sum of squares runs over 4 lanes, then the last C mod 4 channels. */
function normalise(x: usize, n: i32, to: usize): void {
  const whole = <usize>(n >> 2) << 4;
  const end = <usize>n << 2;
  let sums = f32x4.splat(0);
  let i: usize = 0;
  for (; i < whole; i += 16) {
    const v = v128.load(x + i);
    sums = madd(v, v, sums);
  }
  let sum = f32x4.extract_lane(sums, 0) + f32x4.extract_lane(sums, 1) +
    (f32x4.extract_lane(sums, 2) + f32x4.extract_lane(sums, 3));
  for (; i < end; i += 4) sum += load<f32>(x + i) * load<f32>(x + i);
  // A quotient, not a product with the reciprocal: tokens that differ in length alone then tie more often, as in torch.
  const norm: f32 = sum == 0 ? 1 : sqrt<f32>(sum);
  for (i = 0; i < whole; i += 16) v128.store(to + i, f32x4.div(v128.load(x + i), f32x4.splat(norm)));
  for (; i < end; i += 4) store<f32>(to + i, load<f32>(x + i) / norm);
}

/** Eight lines of `bytes` bytes become one panel [C][8]. */
function interleave(from: usize, bytes: usize, to: usize): void {
  const whole = bytes & ~15;
  for (let half: usize = 0; half < 2; ++half) {
    const r0 = from + (half << 2) * bytes, r1 = r0 + bytes, r2 = r1 + bytes, r3 = r2 + bytes;
    let out = to + (half << 4);
    let i: usize = 0;
    for (; i < whole; i += 16) {
      const a = v128.load(r0 + i), b = v128.load(r1 + i), c = v128.load(r2 + i), d = v128.load(r3 + i);
      const ab0 = v128.shuffle<f32>(a, b, 0, 4, 1, 5), ab1 = v128.shuffle<f32>(a, b, 2, 6, 3, 7);
      const cd0 = v128.shuffle<f32>(c, d, 0, 4, 1, 5), cd1 = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
      v128.store(out, v128.shuffle<f32>(ab0, cd0, 0, 1, 4, 5));
      v128.store(out, v128.shuffle<f32>(ab0, cd0, 2, 3, 6, 7), 32);
      v128.store(out, v128.shuffle<f32>(ab1, cd1, 0, 1, 4, 5), 64);
      v128.store(out, v128.shuffle<f32>(ab1, cd1, 2, 3, 6, 7), 96);
      out += 128;
    }
    for (; i < bytes; i += 4) {
      store<f32>(out, load<f32>(r0 + i));
      store<f32>(out, load<f32>(r1 + i), 4);
      store<f32>(out, load<f32>(r2 + i), 8);
      store<f32>(out, load<f32>(r3 + i), 12);
      out += 32;
    }
  }
}

/**
 * nodeMax[b, s] = max over d of ⟨x_s/‖x_s‖, x_d/‖x_d‖⟩, nodeIdx[b, s] = the lowest d that reaches it.
 *
 * The scores exist one 5×8 tile at a time, in registers. A task's sources are normalised and packed into scratch in
 * strips of five, [strip][C][8], as in gemm.ts; a strip then stays in the first-level cache while a group of panels,
 * which the second level holds, passes by. Each row keeps the best of every lane and reduces the 8 lanes at the end.
 * A score that is NaN never wins; a source all of whose scores are NaN has −∞ and destination 0.
 *
 * Words: 0 x, 1 x stride, 2 sources [B, S], 3 panels, 4 nodeMax [B, S], 5 nodeIdx [B, S], 6 N, 7 C, 8 S, 9 D,
 * 10 rows per task (a multiple of 5), 11 tasks per image (⌈S/rows⌉).
 * Scratch: 5 · 4 · C bytes, then 32 · C + 320 for every strip; 4 MiB at most.
 */
export function matchTask(p: usize, task: i32, scratch: usize): void {
  const stride = <usize>load<u32>(p, 4) << 2;
  const channels = load<i32>(p, 28);
  const count = load<i32>(p, 32);
  const perTask = load<i32>(p, 40);
  const tasks = load<i32>(p, 44);

  const image = task / tasks;
  const first = (task % tasks) * perTask;
  const rows = min(perTask, count - first);
  const strips = (rows + MR - 1) / MR;
  const x = <usize>load<u32>(p) + <usize>(image * load<i32>(p, 24)) * stride;
  const list = <usize>load<u32>(p, 8) + (<usize>(image * count + first) << 2);
  const line = <usize>channels << 2;
  const stripBytes = line << 3;
  const packed = scratch + 5 * line;
  const best = packed + <usize>strips * stripBytes;

  for (let s = 0; s < strips; ++s) {
    for (let r = 0; r < MR; ++r) {
      // Rows past the last one repeat it.
      const token = load<i32>(list + (<usize>min(s * MR + r, rows - 1) << 2));
      normalise(x + <usize>token * stride, channels, scratch + <usize>r * line);
      const at = best + (<usize>(s * MR + r) << 6);
      v128.store(at, f32x4.splat(-Infinity));
      v128.store(at, f32x4.splat(-Infinity), 16);
      v128.store(at, i32x4.splat(0), 32);
      v128.store(at, i32x4.splat(0), 48);
    }
    packFive(
      scratch, scratch + line, scratch + 2 * line, scratch + 3 * line, scratch + 4 * line, channels,
      packed + <usize>s * stripBytes,
    );
  }

  const panels = (load<i32>(p, 36) + 7) >> 3;
  const panelBytes = <usize>channels << 5;
  const base = <usize>load<u32>(p, 12) + <usize>(image * panels) * panelBytes;
  const group = max(1, GROUP_BYTES / <i32>panelBytes);
  for (let g = 0; g < panels; g += group) {
    const end = min(panels, g + group);
    let strip = packed;
    for (let s = 0; s < strips; ++s) {
      let panel = base + <usize>g * panelBytes;
      for (let j = g; j < end; ++j) {
        matchTile(strip, strip + stripBytes, panel, best + (<usize>(s * MR) << 6), j << 3);
        panel += panelBytes;
      }
      strip += stripBytes;
    }
  }

  const out = <usize>(image * count + first) << 2;
  const nodeMax = <usize>load<u32>(p, 16) + out;
  const nodeIdx = <usize>load<u32>(p, 20) + out;
  for (let i = 0; i < rows; ++i) {
    const at = best + (<usize>i << 6);
    let max = load<f32>(at);
    let idx = load<i32>(at, 32);
    for (let lane: usize = 4; lane < 32; lane += 4) {
      const score = load<f32>(at + lane);
      const from = load<i32>(at + lane, 32);
      if (score > max || (score == max && from < idx)) {
        max = score;
        idx = from;
      }
    }
    store<f32>(nodeMax + (<usize>i << 2), max);
    store<i32>(nodeIdx + (<usize>i << 2), idx);
  }
}

/** Where a lane of `score` beats the best so far, it and its destination replace it. */
// @ts-ignore: decorator
@inline
function keepBest(best: usize, score: v128, to: v128): void {
  const old = v128.load(best);
  const better = f32x4.gt(score, old);
  v128.store(best, v128.bitselect(score, old, better));
  v128.store(best, v128.bitselect(to, v128.load(best, 32), better), 32);
}

/**
 * The scores of a strip (a..aEnd) and a panel, folded into best [5]{max [8], idx [8]}. An export, so that
 * Binaryen does not inline it: see dispatch.ts.
 */
export function matchTile(a: usize, aEnd: usize, b: usize, best: usize, first: i32): void {
  let c00 = f32x4.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00;
  let c30 = c00, c31 = c00, c40 = c00, c41 = c00;
  do {
    const b0 = v128.load(b), b1 = v128.load(b, 16);
    const four = v128.load(a);
    let s = v128.shuffle<f32>(four, four, 0, 0, 0, 0);
    c00 = madd(s, b0, c00), c01 = madd(s, b1, c01);
    s = v128.shuffle<f32>(four, four, 1, 1, 1, 1);
    c10 = madd(s, b0, c10), c11 = madd(s, b1, c11);
    s = v128.shuffle<f32>(four, four, 2, 2, 2, 2);
    c20 = madd(s, b0, c20), c21 = madd(s, b1, c21);
    s = v128.shuffle<f32>(four, four, 3, 3, 3, 3);
    c30 = madd(s, b0, c30), c31 = madd(s, b1, c31);
    s = v128.load(a, 16);
    c40 = madd(s, b0, c40), c41 = madd(s, b1, c41);
    a += 32;
    b += 32;
  } while (a != aEnd);
  const low = i32x4.add(i32x4.splat(first), i32x4(0, 1, 2, 3));
  const high = i32x4.add(low, i32x4.splat(4));
  keepBest(best, c00, low), keepBest(best + 16, c01, high);
  keepBest(best + 64, c10, low), keepBest(best + 80, c11, high);
  keepBest(best + 128, c20, low), keepBest(best + 144, c21, high);
  keepBest(best + 192, c30, low), keepBest(best + 208, c31, high);
  keepBest(best + 256, c40, low), keepBest(best + 272, c41, high);
}

/**
 * The plan: rowOf [B, N], the row of the merged matrix for each token, and its inverse as lists, `members` [B, N]
 * from `starts` [B, K + 1] on (ascending tokens of each row). The R sources with the largest nodeMax merge, ties
 * go to the lower source; the row of an unmerged source is its rank among them, that of destination d is S − R + d.
 *
 * One task per image, serial: four passes of a radix select and five over the tokens cost less than a hundredth of
 * the matching.
 *
 * Words: 0 nodeMax, 1 nodeIdx, 2 sources, 3 destinations, 4 rowOf, 5 starts, 6 members, 7 N, 8 D, 9 R (≤ S).
 * Scratch: 1 KiB.
 */
export function selectTask(p: usize, task: i32, scratch: usize): void {
  const tokens = load<i32>(p, 28);
  const destinations = load<i32>(p, 32);
  const merged = load<i32>(p, 36);
  const sources = tokens - destinations;
  const offset = <usize>(task * sources) << 2;
  const nodeMax = <usize>load<u32>(p) + offset;
  const nodeIdx = <usize>load<u32>(p, 4) + offset;
  const source = <usize>load<u32>(p, 8) + offset;
  const destination = <usize>load<u32>(p, 12) + (<usize>(task * destinations) << 2);
  const rowOf = <usize>load<u32>(p, 16) + (<usize>(task * tokens) << 2);

  // The R-th largest key, 8 bits at a time from the top; `left` of the sources that have it merge.
  let key: u32 = 0;
  let left = merged;
  for (let shift: u32 = 24, known: u32 = 0; ; shift -= 8) {
    memory.fill(scratch, 0, 1024);
    for (let i = 0; i < sources; ++i) {
      const k = orderOf(nodeMax + (<usize>i << 2));
      if (((k ^ key) & known) != 0) continue;
      const bin = scratch + (<usize>((k >> shift) & 255) << 2);
      store<i32>(bin, load<i32>(bin) + 1);
    }
    let bin: u32 = 255;
    for (; bin > 0; --bin) {
      const n = load<i32>(scratch + (<usize>bin << 2));
      if (n >= left) break;
      left -= n;
    }
    key |= bin << shift;
    known |= <u32>255 << shift;
    if (shift == 0) break;
  }

  const kept = sources - merged;
  let row = 0;
  for (let i = 0; i < sources; ++i) {
    const at = <usize>i << 2;
    const k = orderOf(nodeMax + at);
    let to: i32;
    if (k > key || (k == key && left > 0)) {
      if (k == key) --left;
      to = kept + load<i32>(nodeIdx + at);
    } else {
      to = row++;
    }
    store<i32>(rowOf + (<usize>load<i32>(source + at) << 2), to);
  }
  for (let d = 0; d < destinations; ++d) {
    store<i32>(rowOf + (<usize>load<i32>(destination + (<usize>d << 2)) << 2), kept + d);
  }
  list(p, task, tokens - merged);
}

/** An unsigned integer that orders floats; both zeros have the same. */
// @ts-ignore: decorator
@inline
function orderOf(at: usize): u32 {
  const bits = reinterpret<u32>(load<f32>(at) + <f32>0);
  return bits ^ (<u32>(<i32>bits >> 31) | 0x80000000);
}

/**
 * The second half of `select` for a plan whose rowOf was made elsewhere: one task per image.
 *
 * Words: as `select`; 0 to 3 are not read, and 8 neither.
 */
export function listMembersTask(p: usize, task: i32, scratch: usize): void {
  list(p, task, load<i32>(p, 28) - load<i32>(p, 36));
}

function list(p: usize, image: i32, rows: i32): void {
  const tokens = load<i32>(p, 28);
  const offset = <usize>(image * tokens) << 2;
  const rowOf = <usize>load<u32>(p, 16) + offset;
  const members = <usize>load<u32>(p, 24) + offset;
  const starts = <usize>load<u32>(p, 20) + (<usize>(image * (rows + 1)) << 2);
  memory.fill(starts, 0, <usize>(rows + 1) << 2);
  for (let n = 0; n < tokens; ++n) {
    const at = starts + (<usize>load<i32>(rowOf + (<usize>n << 2)) << 2);
    store<i32>(at, load<i32>(at) + 1);
  }
  // Where each row ends; filling from the last token downwards turns ends into starts.
  let end = 0;
  for (let r = 0; r <= rows; ++r) {
    const at = starts + (<usize>r << 2);
    end += load<i32>(at);
    store<i32>(at, end);
  }
  for (let n = tokens - 1; n >= 0; --n) {
    const at = starts + (<usize>load<i32>(rowOf + (<usize>n << 2)) << 2);
    const slot = load<i32>(at) - 1;
    store<i32>(at, slot);
    store<i32>(members + (<usize>slot << 2), n);
  }
}

/**
 * out[b, k] = mean of the tokens of row k, added in ascending order: [B, N, C] → [B, K, C].
 *
 * Words: 0 x, 1 x stride, 2 out, 3 out stride, 4 starts, 5 members, 6 N, 7 K, 8 C, 9 rows per task,
 * 10 tasks per image (⌈K/rows⌉). No overlap.
 */
export function mergeTask(p: usize, task: i32, scratch: usize): void {
  const stride = <usize>load<u32>(p, 4) << 2;
  const outStride = <usize>load<u32>(p, 12) << 2;
  const tokens = load<i32>(p, 24);
  const rows = load<i32>(p, 28);
  const bytes = <usize>load<i32>(p, 32) << 2;
  const perTask = load<i32>(p, 36);
  const tasks = load<i32>(p, 40);
  const image = task / tasks;
  const first = (task % tasks) * perTask;
  const last = min(rows, first + perTask);
  const x = <usize>load<u32>(p) + <usize>(image * tokens) * stride;
  const starts = <usize>load<u32>(p, 16) + (<usize>(image * (rows + 1)) << 2);
  const members = <usize>load<u32>(p, 20) + (<usize>(image * tokens) << 2);
  let out = <usize>load<u32>(p, 8) + <usize>(image * rows + first) * outStride;
  for (let row = first; row < last; ++row) {
    const from = load<i32>(starts + (<usize>row << 2));
    const to = load<i32>(starts + (<usize>row << 2), 4);
    const token = x + <usize>load<i32>(members + (<usize>from << 2)) * stride;
    if (to - from == 1) copy(token, bytes, out);
    else mean(x, stride, members + (<usize>from << 2), members + (<usize>to << 2), bytes, out);
    out += outStride;
  }
}

function copy(from: usize, bytes: usize, to: usize): void {
  let i: usize = 0;
  for (; i + 32 <= bytes; i += 32) {
    v128.store(to + i, v128.load(from + i));
    v128.store(to + i, v128.load(from + i, 16), 16);
  }
  for (; i < bytes; i += 4) store<f32>(to + i, load<f32>(from + i));
}

/** Of the tokens whose numbers stand from `list` to `end`. 32 channels at once: two cache lines of every token. */
function mean(x: usize, stride: usize, list: usize, end: usize, bytes: usize, out: usize): void {
  const count = <f32>(<i32>(end - list) >> 2);
  let i: usize = 0;
  for (; i + 128 <= bytes; i += 128) {
    let token = x + <usize>load<i32>(list) * stride + i;
    let s0 = v128.load(token), s1 = v128.load(token, 16), s2 = v128.load(token, 32), s3 = v128.load(token, 48);
    let s4 = v128.load(token, 64), s5 = v128.load(token, 80), s6 = v128.load(token, 96), s7 = v128.load(token, 112);
    for (let at = list + 4; at < end; at += 4) {
      token = x + <usize>load<i32>(at) * stride + i;
      s0 = f32x4.add(s0, v128.load(token)), s1 = f32x4.add(s1, v128.load(token, 16));
      s2 = f32x4.add(s2, v128.load(token, 32)), s3 = f32x4.add(s3, v128.load(token, 48));
      s4 = f32x4.add(s4, v128.load(token, 64)), s5 = f32x4.add(s5, v128.load(token, 80));
      s6 = f32x4.add(s6, v128.load(token, 96)), s7 = f32x4.add(s7, v128.load(token, 112));
    }
    const c = f32x4.splat(count);
    v128.store(out + i, f32x4.div(s0, c)), v128.store(out + i, f32x4.div(s1, c), 16);
    v128.store(out + i, f32x4.div(s2, c), 32), v128.store(out + i, f32x4.div(s3, c), 48);
    v128.store(out + i, f32x4.div(s4, c), 64), v128.store(out + i, f32x4.div(s5, c), 80);
    v128.store(out + i, f32x4.div(s6, c), 96), v128.store(out + i, f32x4.div(s7, c), 112);
  }
  for (; i + 16 <= bytes; i += 16) {
    let s = v128.load(x + <usize>load<i32>(list) * stride + i);
    for (let at = list + 4; at < end; at += 4) s = f32x4.add(s, v128.load(x + <usize>load<i32>(at) * stride + i));
    v128.store(out + i, f32x4.div(s, f32x4.splat(count)));
  }
  for (; i < bytes; i += 4) {
    let s = load<f32>(x + <usize>load<i32>(list) * stride + i);
    for (let at = list + 4; at < end; at += 4) s += load<f32>(x + <usize>load<i32>(at) * stride + i);
    store<f32>(out + i, s / count);
  }
}

/**
 * out[b, n] = y[b, rowOf[b, n]] + residual[b, n]: [B, K, C] → [B, N, C].
 *
 * Words: 0 y, 1 y stride, 2 out, 3 out stride, 4 rowOf, 5 residual or 0, 6 residual stride, 7 N, 8 K, 9 C,
 * 10 tokens per task, 11 tasks per image (⌈N/tokens⌉). `out` may be the residual, nothing else overlaps.
 */
export function unmergeTask(p: usize, task: i32, scratch: usize): void {
  const stride = <usize>load<u32>(p, 4) << 2;
  const outStride = <usize>load<u32>(p, 12) << 2;
  const residualStride = <usize>load<u32>(p, 24) << 2;
  const tokens = load<i32>(p, 28);
  const rows = load<i32>(p, 32);
  const bytes = <usize>load<i32>(p, 36) << 2;
  const perTask = load<i32>(p, 40);
  const tasks = load<i32>(p, 44);
  const image = task / tasks;
  const first = (task % tasks) * perTask;
  const last = min(tokens, first + perTask);
  const y = <usize>load<u32>(p) + <usize>(image * rows) * stride;
  const rowOf = <usize>load<u32>(p, 16) + (<usize>(image * tokens) << 2);
  let out = <usize>load<u32>(p, 8) + <usize>(image * tokens + first) * outStride;
  let residual = <usize>load<u32>(p, 20);
  const add = residual != 0;
  residual += <usize>(image * tokens + first) * residualStride;
  for (let n = first; n < last; ++n) {
    const from = y + <usize>load<i32>(rowOf + (<usize>n << 2)) * stride;
    if (add) sum(from, residual, bytes, out);
    else copy(from, bytes, out);
    out += outStride;
    residual += residualStride;
  }
}

function sum(a: usize, b: usize, bytes: usize, to: usize): void {
  let i: usize = 0;
  for (; i + 32 <= bytes; i += 32) {
    v128.store(to + i, f32x4.add(v128.load(a + i), v128.load(b + i)));
    v128.store(to + i, f32x4.add(v128.load(a + i, 16), v128.load(b + i, 16)), 16);
  }
  for (; i < bytes; i += 4) store<f32>(to + i, load<f32>(a + i) + load<f32>(b + i));
}
