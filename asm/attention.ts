/**
 * Fused attention: out[i] = Σ_j softmax_j(scale · q[i]·k[j]) · v[j] per image and head; the scores are never
 * stored, but for one block of keys × 8 queries.
 *
 * q [B, N, heads·D], k and v [B, M, heads·D], out [B, N, heads·D]: rows `stride` elements apart, D a multiple
 * of 4. Causal: query i sees keys 0..i. out must not overlap the inputs.
 *
 * Words: 0 q, 1 k, 2 v, 3 out (addresses), 4 q stride, 5 k stride, 6 v stride, 7 out stride (elements),
 * 8 heads, 9 D, 10 N, 11 M, 12 causal (0/1), 13 scale · log2(e) (f32), 14 queries per task (a multiple of 8),
 * 15 keys per block (a multiple of 5). Tasks: B · heads · ceil(N / word 14), heads fastest, since they
 * share the queries' cache lines.
 * Scratch: see `attentionScratch` in src/backend/wasm/attention.ts.
 *
 * Method. Sᵀ = K·Qᵀ in panels of 8 queries, so that maximum, exponential and sum run down the lanes and P is
 * already what the second product, Oᵀ += Vᵀ·P, reads. Both products are the micro-kernel of gemm.ts, 5 × 8: per
 * block of keys, K is packed in tiles of 5 keys and V in tiles of 5 channels (the last ones of 4), four elements
 * side by side to be splatted by shuffles and the fifth splatted in memory; gemm.ts tells why.
 * The running maximum m is kept stale while the new scores exceed it by less than 2^LAG_LIMIT (any m gives the
 * same quotient), so that the accumulators can start at −m and O is seldom rescaled.
 *
 * Tails: absent queries are zeros and are not written; a last tile of keys repeats the last key, whose copies
 * take no part in the sums.
 */
import { packFive } from "./gemm";
import { exp2_below_ps } from "./inline/exp";
import { madd } from "./inline/madd";

/** log2 of how far scores may exceed the maximum in use. */
// @ts-ignore: decorator
@inline const LAG_LIMIT: f32 = 16;

/* What takes the time is exported, so that Binaryen does not inline it here: V8 would run out of registers. */

export function attentionTask(p: usize, task: i32, scratch: usize): void {
  const qStride = <usize>load<i32>(p, 16) << 2;
  const kStride = <usize>load<i32>(p, 20) << 2;
  const vStride = <usize>load<i32>(p, 24) << 2;
  const outStride = <usize>load<i32>(p, 28) << 2;
  const heads = load<i32>(p, 32);
  const depth = load<i32>(p, 36);
  const queries = load<i32>(p, 40);
  const keys = load<i32>(p, 44);
  const causal = load<i32>(p, 48) != 0;
  const scale = load<f32>(p, 52);
  const queryBlock = load<i32>(p, 56);
  const keyBlock = load<i32>(p, 60);

  const blocks = (queries + queryBlock - 1) / queryBlock;
  const image = task / (heads * blocks);
  const column = <usize>((task % heads) * depth) << 2;
  const from = (task / heads % blocks) * queryBlock;
  const count = min(queryBlock, queries - from);
  const panels = (count + 7) >> 3;
  const q = <usize>load<i32>(p, 0) + <usize>(image * queries + from) * qStride + column;
  const k = <usize>load<i32>(p, 4) + <usize>(image * keys) * kStride + column;
  const v = <usize>load<i32>(p, 8) + <usize>(image * keys) * vStride + column;
  const out = <usize>load<i32>(p, 12) + <usize>(image * queries + from) * outStride + column;

  const panelBytes = <usize>depth << 5;
  const packedQ = scratch;
  const packedO = packedQ + <usize>(queryBlock >> 3) * panelBytes;
  const stats = packedO + <usize>(queryBlock >> 3) * panelBytes; // per panel: m[8], sum[8]
  const packedK = stats + (<usize>queryBlock << 3);
  const packedV = packedK + (<usize>(keyBlock / 5 * depth) << 5);
  const s = packedV + (<usize>(keyBlock / 5 * depth) << 5);
  const top = s + (<usize>keyBlock << 5); // the block's maximum, [8]

  packQueries(q, qStride, packedQ, depth, count, scale);
  memory.fill(packedO, 0, <usize>panels * panelBytes);
  memory.fill(stats, 0, <usize>panels << 6);

  const end = causal ? min(keys, from + count) : keys;
  for (let first = 0; first < end; first += keyBlock) {
    const here = min(keyBlock, end - first);
    packKeys(k + <usize>first * kStride, kStride, packedK, depth, here);
    packValues(v + <usize>first * vStride, vStride, packedV, depth, here);
    for (let panel = 0; panel < panels; panel++) {
      const state = stats + (<usize>panel << 6);
      const row = from + (panel << 3) - first; // the panel's first query, counted from the block's first key
      const seen = causal ? min(here, row + 8) : here;
      if (seen <= 0) continue;
      const o = packedO + <usize>panel * panelBytes;
      attentionScores(packedK, packedQ + <usize>panel * panelBytes, s, depth, seen, state, top);
      if (causal && seen > row + 1) maskFuture(s, row, seen, top);
      attentionSoftmax(s, seen, state, top, o, depth, first == 0);
      attentionMix(packedV, s, o, depth, here, seen);
    }
  }
  unpackOutput(packedO, stats, out, outStride, depth, count);
}

/** Rows of 8 lanes: Sᵀ[j] = k[j]·Qᵀ − m for `seen` keys, up to a whole tile; top = the maximum over them. */
export function attentionScores(a: usize, q: usize, s: usize, depth: i32, seen: i32, state: usize, top: usize): void {
  const sEnd = s + (<usize>seen << 5);
  const qEnd = q + (<usize>depth << 5);
  let top0 = f32x4.splat(-f32.MAX_VALUE);
  let top1 = top0;
  const m0 = f32x4.neg(v128.load(state));
  const m1 = f32x4.neg(v128.load(state, 16));
  do {
    let c00 = m0, c10 = m0, c20 = m0, c30 = m0, c40 = m0;
    let c01 = m1, c11 = m1, c21 = m1, c31 = m1, c41 = m1;
    let b = q;
    do {
      const b0 = v128.load(b), b1 = v128.load(b, 16);
      const four = v128.load(a);
      let x = v128.shuffle<f32>(four, four, 0, 0, 0, 0);
      c00 = madd(x, b0, c00), c01 = madd(x, b1, c01);
      x = v128.shuffle<f32>(four, four, 1, 1, 1, 1);
      c10 = madd(x, b0, c10), c11 = madd(x, b1, c11);
      x = v128.shuffle<f32>(four, four, 2, 2, 2, 2);
      c20 = madd(x, b0, c20), c21 = madd(x, b1, c21);
      x = v128.shuffle<f32>(four, four, 3, 3, 3, 3);
      c30 = madd(x, b0, c30), c31 = madd(x, b1, c31);
      x = v128.load(a, 16);
      c40 = madd(x, b0, c40), c41 = madd(x, b1, c41);
      a += 32;
      b += 32;
    } while (b != qEnd);
    v128.store(s, c00), v128.store(s, c01, 16);
    v128.store(s, c10, 32), v128.store(s, c11, 48);
    v128.store(s, c20, 64), v128.store(s, c21, 80);
    v128.store(s, c30, 96), v128.store(s, c31, 112);
    v128.store(s, c40, 128), v128.store(s, c41, 144);
    s += 160;
    top0 = f32x4.pmax(f32x4.pmax(f32x4.pmax(c00, c10), f32x4.pmax(c20, c30)), f32x4.pmax(c40, top0));
    top1 = f32x4.pmax(f32x4.pmax(f32x4.pmax(c01, c11), f32x4.pmax(c21, c31)), f32x4.pmax(c41, top1));
  } while (s < sEnd);
  v128.store(top, top0);
  v128.store(top, top1, 16);
}

/** Key j is hidden from lane i where j > row + i; the maximum is found anew over what is seen. */
function maskFuture(s: usize, row: i32, seen: i32, top: usize): void {
  let top0 = f32x4.splat(-f32.MAX_VALUE);
  let top1 = top0;
  for (let j = 0; j < seen; j++) {
    const x = s + (<usize>j << 5);
    for (let lane = 0; lane < min(8, j - row); lane++) store<f32>(x + (<usize>lane << 2), -Infinity);
    top0 = f32x4.pmax(top0, v128.load(x));
    top1 = f32x4.pmax(top1, v128.load(x, 16));
  }
  v128.store(top, top0);
  v128.store(top, top1, 16);
}

/** S becomes P = 2^(S − lag), in place; the state's maximum and sum follow, and O where the maximum moved. */
export function attentionSoftmax(s: usize, seen: i32, state: usize, top: usize, o: usize, depth: i32, fresh: bool): void {
  let lag0 = v128.load(top);
  let lag1 = v128.load(top, 16);
  let sum0 = v128.load(state, 32);
  let sum1 = v128.load(state, 48);
  const limit = f32x4.splat(LAG_LIMIT);
  if (fresh || v128.any_true(v128.or(f32x4.gt(lag0, limit), f32x4.gt(lag1, limit)))) {
    if (!fresh) {
      const zero = f32x4.splat(0);
      lag0 = f32x4.pmax(zero, lag0);
      lag1 = f32x4.pmax(zero, lag1);
      const shrink0 = exp2_below_ps(f32x4.neg(lag0));
      const shrink1 = exp2_below_ps(f32x4.neg(lag1));
      sum0 = f32x4.mul(sum0, shrink0);
      sum1 = f32x4.mul(sum1, shrink1);
      for (let d = 0; d < depth; d++) {
        v128.store(o, f32x4.mul(v128.load(o), shrink0));
        v128.store(o, f32x4.mul(v128.load(o, 16), shrink1), 16);
        o += 32;
      }
    }
    v128.store(state, f32x4.add(v128.load(state), lag0));
    v128.store(state, f32x4.add(v128.load(state, 16), lag1), 16);
  } else {
    lag0 = lag1 = f32x4.splat(0);
  }
  const end = s + (<usize>seen << 5);
  do {
    const x0 = exp2_below_ps(f32x4.sub(v128.load(s), lag0));
    const x1 = exp2_below_ps(f32x4.sub(v128.load(s, 16), lag1));
    v128.store(s, x0);
    v128.store(s, x1, 16);
    sum0 = f32x4.add(sum0, x0);
    sum1 = f32x4.add(sum1, x1);
    s += 32;
  } while (s < end);
  v128.store(state, sum0, 32);
  v128.store(state, sum1, 48);
}

/** Oᵀ[d] += Σ_j v[j][d] · P[j] over the `seen` first of a block of `here` keys. */
export function attentionMix(a: usize, p: usize, o: usize, depth: i32, here: i32, seen: i32): void {
  const pEnd = p + (<usize>seen << 5);
  const unseen = <usize>(here - seen);
  const oEnd = o + (<usize>depth << 5);
  const wideEnd = oEnd - (<usize>narrowChannels(depth) << 5);
  while (o != wideEnd) {
    let c00 = v128.load(o), c01 = v128.load(o, 16);
    let c10 = v128.load(o, 32), c11 = v128.load(o, 48);
    let c20 = v128.load(o, 64), c21 = v128.load(o, 80);
    let c30 = v128.load(o, 96), c31 = v128.load(o, 112);
    let c40 = v128.load(o, 128), c41 = v128.load(o, 144);
    let b = p;
    do {
      const b0 = v128.load(b), b1 = v128.load(b, 16);
      const four = v128.load(a);
      let x = v128.shuffle<f32>(four, four, 0, 0, 0, 0);
      c00 = madd(x, b0, c00), c01 = madd(x, b1, c01);
      x = v128.shuffle<f32>(four, four, 1, 1, 1, 1);
      c10 = madd(x, b0, c10), c11 = madd(x, b1, c11);
      x = v128.shuffle<f32>(four, four, 2, 2, 2, 2);
      c20 = madd(x, b0, c20), c21 = madd(x, b1, c21);
      x = v128.shuffle<f32>(four, four, 3, 3, 3, 3);
      c30 = madd(x, b0, c30), c31 = madd(x, b1, c31);
      x = v128.load(a, 16);
      c40 = madd(x, b0, c40), c41 = madd(x, b1, c41);
      a += 32;
      b += 32;
    } while (b != pEnd);
    v128.store(o, c00), v128.store(o, c01, 16);
    v128.store(o, c10, 32), v128.store(o, c11, 48);
    v128.store(o, c20, 64), v128.store(o, c21, 80);
    v128.store(o, c30, 96), v128.store(o, c31, 112);
    v128.store(o, c40, 128), v128.store(o, c41, 144);
    o += 160;
    a += unseen << 5;
  }
  while (o != oEnd) {
    let c00 = v128.load(o), c01 = v128.load(o, 16);
    let c10 = v128.load(o, 32), c11 = v128.load(o, 48);
    let c20 = v128.load(o, 64), c21 = v128.load(o, 80);
    let c30 = v128.load(o, 96), c31 = v128.load(o, 112);
    let b = p;
    do {
      const b0 = v128.load(b), b1 = v128.load(b, 16);
      const four = v128.load(a);
      let x = v128.shuffle<f32>(four, four, 0, 0, 0, 0);
      c00 = madd(x, b0, c00), c01 = madd(x, b1, c01);
      x = v128.shuffle<f32>(four, four, 1, 1, 1, 1);
      c10 = madd(x, b0, c10), c11 = madd(x, b1, c11);
      x = v128.shuffle<f32>(four, four, 2, 2, 2, 2);
      c20 = madd(x, b0, c20), c21 = madd(x, b1, c21);
      x = v128.shuffle<f32>(four, four, 3, 3, 3, 3);
      c30 = madd(x, b0, c30), c31 = madd(x, b1, c31);
      a += 16;
      b += 32;
    } while (b != pEnd);
    v128.store(o, c00), v128.store(o, c01, 16);
    v128.store(o, c10, 32), v128.store(o, c11, 48);
    v128.store(o, c20, 64), v128.store(o, c21, 80);
    v128.store(o, c30, 96), v128.store(o, c31, 112);
    o += 128;
    a += unseen << 4;
  }
}

/** Channels left to tiles of 4 so that tiles of 5 cover the rest: 0, 4, 8, 12 or 16. */
// @ts-ignore: decorator
@inline
function narrowChannels(depth: i32): i32 {
  return ((5 - depth % 5) % 5) << 2;
}

/** Qᵀ in panels [depth][8], times the scale; absent queries are zeros. */
function packQueries(q: usize, stride: usize, to: usize, depth: i32, count: i32, scale: f32): void {
  const factor = f32x4.splat(scale);
  for (let i = 0; i < count; i += 4) {
    const panel = to + (<usize>(i >> 3) * (<usize>depth << 5)) + (<usize>(i & 4) << 2);
    if (i + 4 <= count) {
      for (let d: usize = 0; d < <usize>depth; d += 4) {
        const row = q + <usize>i * stride + (d << 2);
        const x0 = f32x4.mul(v128.load(row), factor);
        const x1 = f32x4.mul(v128.load(row + stride), factor);
        const x2 = f32x4.mul(v128.load(row + 2 * stride), factor);
        const x3 = f32x4.mul(v128.load(row + 3 * stride), factor);
        const y0 = v128.shuffle<f32>(x0, x1, 0, 4, 1, 5);
        const y1 = v128.shuffle<f32>(x2, x3, 0, 4, 1, 5);
        const y2 = v128.shuffle<f32>(x0, x1, 2, 6, 3, 7);
        const y3 = v128.shuffle<f32>(x2, x3, 2, 6, 3, 7);
        const at = panel + (d << 5);
        v128.store(at, v128.shuffle<f32>(y0, y1, 0, 1, 4, 5));
        v128.store(at, v128.shuffle<f32>(y0, y1, 2, 3, 6, 7), 32);
        v128.store(at, v128.shuffle<f32>(y2, y3, 0, 1, 4, 5), 64);
        v128.store(at, v128.shuffle<f32>(y2, y3, 2, 3, 6, 7), 96);
      }
    } else {
      for (let d = 0; d < depth; d++) {
        for (let lane = 0; lane < 4; lane++) {
          const x = i + lane < count ? load<f32>(q + <usize>(i + lane) * stride + (<usize>d << 2)) * scale : 0;
          store<f32>(panel + (<usize>d << 5) + (<usize>lane << 2), x);
        }
      }
    }
  }
  if (((count + 3) & 4) != 0) {
    const panel = to + (<usize>(count >> 3) * (<usize>depth << 5));
    for (let d = 0; d < depth; d++) v128.store(panel + (<usize>d << 5), f32x4.splat(0), 16);
  }
}

/** K in tiles of 5 keys, [depth][8]; the last tile repeats the last key. */
function packKeys(k: usize, stride: usize, to: usize, depth: i32, count: i32): void {
  const last = k + <usize>(count - 1) * stride;
  for (let j = 0; j < count; j += 5) {
    const k1 = min(k + stride, last), k2 = min(k1 + stride, last), k3 = min(k2 + stride, last);
    packFive(k, k1, k2, k3, min(k3 + stride, last), depth, to);
    k += 5 * stride;
    to += <usize>depth << 5;
  }
}

/** V in tiles of 5 channels, [key][8], the last ones of 4 channels, [key][4]. */
function packValues(v: usize, stride: usize, to: usize, depth: i32, count: i32): void {
  const end = v + (<usize>depth << 2);
  const wideEnd = end - (<usize>narrowChannels(depth) << 2);
  while (v != wideEnd) {
    let row = v;
    for (let j = 0; j < count; j++) {
      v128.store(to, v128.load(row));
      v128.store(to, v128.load32_splat(row, 16), 16);
      to += 32;
      row += stride;
    }
    v += 20;
  }
  while (v != end) {
    let row = v;
    for (let j = 0; j < count; j++) {
      v128.store(to, v128.load(row));
      to += 16;
      row += stride;
    }
    v += 16;
  }
}

/** out = (Oᵀ)ᵀ / sum. */
function unpackOutput(o: usize, state: usize, out: usize, stride: usize, depth: i32, count: i32): void {
  const one = f32x4.splat(1);
  for (let i = 0; i < count; i += 4) {
    const inverse = f32x4.div(one, v128.load(state + (<usize>(i >> 3) << 6) + (<usize>(i & 4) << 2), 32));
    const panel = o + (<usize>(i >> 3) * (<usize>depth << 5)) + (<usize>(i & 4) << 2);
    const rows = min(4, count - i);
    for (let d: usize = 0; d < <usize>depth; d += 4) {
      const at = panel + (d << 5);
      const x0 = f32x4.mul(v128.load(at), inverse);
      const x1 = f32x4.mul(v128.load(at, 32), inverse);
      const x2 = f32x4.mul(v128.load(at, 64), inverse);
      const x3 = f32x4.mul(v128.load(at, 96), inverse);
      const y0 = v128.shuffle<f32>(x0, x1, 0, 4, 1, 5);
      const y1 = v128.shuffle<f32>(x2, x3, 0, 4, 1, 5);
      const y2 = v128.shuffle<f32>(x0, x1, 2, 6, 3, 7);
      const y3 = v128.shuffle<f32>(x2, x3, 2, 6, 3, 7);
      const row = out + <usize>i * stride + (d << 2);
      v128.store(row, v128.shuffle<f32>(y0, y1, 0, 1, 4, 5));
      if (rows > 1) v128.store(row + stride, v128.shuffle<f32>(y0, y1, 2, 3, 6, 7));
      if (rows > 2) v128.store(row + 2 * stride, v128.shuffle<f32>(y2, y3, 0, 1, 4, 5));
      if (rows > 3) v128.store(row + 3 * stride, v128.shuffle<f32>(y2, y3, 2, 3, 6, 7));
    }
  }
}
