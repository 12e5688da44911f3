/** Layer norm and group norm. Rows and channels are free; inputs are strided, outputs without gaps. */
import { silu_ps } from "./inline/activation";
import { madd } from "./inline/madd";
import { load_tail, store_tail } from "./inline/tail";

// @ts-ignore: decorator
@inline
function laneSum(v: v128): f64 {
  return (<f64>f32x4.extract_lane(v, 0) + <f64>f32x4.extract_lane(v, 1)) +
    (<f64>f32x4.extract_lane(v, 2) + <f64>f32x4.extract_lane(v, 3));
}

/**
 * y = (x − mean) / √(var + eps) · gamma + beta over the last dimension; x [rows, C] → y [rows, C].
 *
 * Words: 0 x, 1 its row stride, 2 y, 3 gamma [C], 4 beta [C], 5 eps (f32), 6 rows, 7 C, 8 rows per task.
 * The mean m is rounded to f32; deviations are taken from it, and their own mean (δ) corrects both mean and
 * variance, so that a mean far above the deviation costs nothing. A row is read three times, from L1.
 * Tails: the last C % 4 channels by lanes. y may be x where the strides agree.
 */
export function layerNormTask(p: usize, task: i32, _scratch: usize): void {
  const gamma = <usize>load<u32>(p, 12);
  const beta = <usize>load<u32>(p, 16);
  const eps = <f64>load<f32>(p, 20);
  const cols = load<i32>(p, 28);
  const perTask = load<i32>(p, 32);
  const first = task * perTask;
  const end = min(first + perTask, load<i32>(p, 24));
  const stride = <usize>load<i32>(p, 4) << 2;
  const bytes = <usize>cols << 2;
  const wide = bytes & ~63;
  const whole = bytes & ~15;
  const lanes = cols & 3;

  let x = <usize>load<u32>(p) + <usize>first * stride;
  let y = <usize>load<u32>(p, 8) + <usize>first * bytes;
  for (let row = first; row < end; row++) {
    let s0 = f32x4.splat(0), s1 = f32x4.splat(0), s2 = f32x4.splat(0), s3 = f32x4.splat(0);
    let i: usize = 0;
    for (; i < wide; i += 64) {
      s0 = f32x4.add(s0, v128.load(x + i));
      s1 = f32x4.add(s1, v128.load(x + i, 16));
      s2 = f32x4.add(s2, v128.load(x + i, 32));
      s3 = f32x4.add(s3, v128.load(x + i, 48));
    }
    for (; i < whole; i += 16) s0 = f32x4.add(s0, v128.load(x + i));
    if (lanes) s1 = f32x4.add(s1, load_tail(x + whole, lanes));
    const mean = <f32>(laneSum(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3))) / <f64>cols);

    const m = f32x4.splat(mean);
    s0 = f32x4.splat(0), s1 = f32x4.splat(0), s2 = f32x4.splat(0), s3 = f32x4.splat(0);
    let q0 = f32x4.splat(0), q1 = f32x4.splat(0), q2 = f32x4.splat(0), q3 = f32x4.splat(0);
    for (i = 0; i < wide; i += 64) {
      const d0 = f32x4.sub(v128.load(x + i), m);
      const d1 = f32x4.sub(v128.load(x + i, 16), m);
      const d2 = f32x4.sub(v128.load(x + i, 32), m);
      const d3 = f32x4.sub(v128.load(x + i, 48), m);
      s0 = f32x4.add(s0, d0);
      s1 = f32x4.add(s1, d1);
      s2 = f32x4.add(s2, d2);
      s3 = f32x4.add(s3, d3);
      q0 = madd(d0, d0, q0);
      q1 = madd(d1, d1, q1);
      q2 = madd(d2, d2, q2);
      q3 = madd(d3, d3, q3);
    }
    for (; i < whole; i += 16) {
      const d = f32x4.sub(v128.load(x + i), m);
      s0 = f32x4.add(s0, d);
      q0 = madd(d, d, q0);
    }
    let sum = laneSum(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
    let squares = laneSum(f32x4.add(f32x4.add(q0, q1), f32x4.add(q2, q3)));
    for (i = whole; i < bytes; i += 4) {
      const d = <f64>(load<f32>(x + i) - mean);
      sum += d;
      squares += d * d;
    }
    const delta = sum / <f64>cols;
    const inverse = 1 / Math.sqrt(max(squares / <f64>cols - delta * delta, 0) + eps);

    const r = f32x4.splat(<f32>inverse);
    const k = f32x4.splat(<f32>(-delta * inverse));
    for (i = 0; i < whole; i += 16) {
      const n = madd(f32x4.sub(v128.load(x + i), m), r, k);
      v128.store(y + i, madd(n, v128.load(gamma + i), v128.load(beta + i)));
    }
    if (lanes) {
      const n = madd(f32x4.sub(load_tail(x + i, lanes), m), r, k);
      store_tail(y + i, madd(n, load_tail(gamma + i, lanes), load_tail(beta + i, lanes)), lanes);
    }
    x += stride;
    y += bytes;
  }
}

// @ts-ignore: decorator
@inline
function high(v: v128): v128 {
  return f64x2.promote_low_f32x4(i8x16.shuffle(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15));
}

/** Adds the lanes of four rows, and their squares, to four f64 sums and four f64 sums of squares at `acc`. */
// @ts-ignore: decorator
@inline
function accumulate(acc: usize, a: v128, b: v128, c: v128, d: v128): void {
  const al = f64x2.promote_low_f32x4(a), bl = f64x2.promote_low_f32x4(b);
  const cl = f64x2.promote_low_f32x4(c), dl = f64x2.promote_low_f32x4(d);
  v128.store(acc, f64x2.add(v128.load(acc), f64x2.add(f64x2.add(al, bl), f64x2.add(cl, dl))));
  v128.store(acc, f64x2.add(v128.load(acc, 32), f64x2.add(
    f64x2.add(f64x2.mul(al, al), f64x2.mul(bl, bl)), f64x2.add(f64x2.mul(cl, cl), f64x2.mul(dl, dl)))), 32);
  const ah = high(a), bh = high(b), ch = high(c), dh = high(d);
  v128.store(acc, f64x2.add(v128.load(acc, 16), f64x2.add(f64x2.add(ah, bh), f64x2.add(ch, dh))), 16);
  v128.store(acc, f64x2.add(v128.load(acc, 48), f64x2.add(
    f64x2.add(f64x2.mul(ah, ah), f64x2.mul(bh, bh)), f64x2.add(f64x2.mul(ch, ch), f64x2.mul(dh, dh)))), 48);
}

/**
 * Sums and sums of squares of a block of rows by group, in f64; x [B, N, C] → partial [B, blocks, groups, 2].
 *
 * Words: 0 x, 1 its row stride, 2 partial (f64, 8-byte aligned), 3 N, 4 C, 5 groups, 6 rows per block, 7 blocks.
 * Task: image · blocks + block. A square of an f32 is exact in f64, so a mean 10⁴ times the deviation leaves the
 * variance right to 10⁻⁷. Channels are summed apart in scratch (per four: 4 sums, 4 sums of squares), then by
 * group in ascending order. Group sizes are free. Tails: the last C % 4 channels by lanes, the last rows one by one.
 * Limit: C ≤ 262144 (scratch).
 */
export function groupNormStatsTask(p: usize, task: i32, scratch: usize): void {
  const rows = load<i32>(p, 12);
  const cols = load<i32>(p, 16);
  const groups = load<i32>(p, 20);
  const perBlock = load<i32>(p, 24);
  const blocks = load<i32>(p, 28);
  const stride = <usize>load<i32>(p, 4) << 2;
  const image = task / blocks;
  const first = (task % blocks) * perBlock;
  const count = min(perBlock, rows - first);
  const whole = <usize>(cols & ~3) << 2;
  const lanes = cols & 3;

  const accBytes = (<usize>(cols + 3) >> 2) << 6;
  memory.fill(scratch, 0, accBytes);
  let x = <usize>load<u32>(p) + <usize>(image * rows + first) * stride;
  const zero = f32x4.splat(0);
  let row = 0;
  for (; row + 4 <= count; row += 4) {
    const x1 = x + stride, x2 = x1 + stride, x3 = x2 + stride;
    let acc = scratch;
    for (let i: usize = 0; i < whole; i += 16, acc += 64) {
      accumulate(acc, v128.load(x + i), v128.load(x1 + i), v128.load(x2 + i), v128.load(x3 + i));
    }
    if (lanes) {
      accumulate(acc, load_tail(x + whole, lanes), load_tail(x1 + whole, lanes), load_tail(x2 + whole, lanes),
        load_tail(x3 + whole, lanes));
    }
    x = x3 + stride;
  }
  for (; row < count; row++) {
    let acc = scratch;
    for (let i: usize = 0; i < whole; i += 16, acc += 64) accumulate(acc, v128.load(x + i), zero, zero, zero);
    if (lanes) accumulate(acc, load_tail(x + whole, lanes), zero, zero, zero);
    x += stride;
  }

  const size = cols / groups;
  let out = <usize>load<u32>(p, 8) + (<usize>task * <usize>groups << 4);
  let c = 0;
  for (let g = 0; g < groups; g++) {
    let sum: f64 = 0, squares: f64 = 0;
    for (const end = c + size; c < end; c++) {
      const acc = scratch + (<usize>(c >> 2) << 6) + (<usize>(c & 3) << 3);
      sum += load<f64>(acc);
      squares += load<f64>(acc, 32);
    }
    store<f64>(out, sum);
    store<f64>(out, squares, 8);
    out += 16;
  }
}

/**
 * Each channel's scale gamma / √(var + eps) and shift beta − mean · scale, by image: partial (as above) →
 * scaleShift [B, 2C].
 *
 * Words: 0 partial, 1 scaleShift, 2 gamma [C], 3 beta [C], 4 eps (f32), 5 N, 6 C, 7 groups, 8 blocks.
 * Task: image. Blocks are added in ascending order.
 */
export function groupNormAffineTask(p: usize, task: i32, _scratch: usize): void {
  const gamma = <usize>load<u32>(p, 8);
  const beta = <usize>load<u32>(p, 12);
  const eps = <f64>load<f32>(p, 16);
  const cols = load<i32>(p, 24);
  const groups = load<i32>(p, 28);
  const blocks = load<i32>(p, 32);
  const size = cols / groups;
  const n = <f64>load<i32>(p, 20) * <f64>size;
  const step = <usize>groups << 4;
  const bytes = <usize>cols << 2;
  let partial = <usize>load<u32>(p) + <usize>task * <usize>blocks * step;
  const scale = <usize>load<u32>(p, 4) + <usize>task * (bytes << 1);
  let i: usize = 0;
  for (let g = 0; g < groups; g++, partial += 16) {
    let sum: f64 = 0, squares: f64 = 0;
    let at = partial;
    for (let b = 0; b < blocks; b++, at += step) {
      sum += load<f64>(at);
      squares += load<f64>(at, 8);
    }
    const mean = sum / n;
    const inverse = 1 / Math.sqrt(max(squares / n - mean * mean, 0) + eps);
    for (const end = i + (<usize>size << 2); i < end; i += 4) {
      const s = <f64>load<f32>(gamma + i) * inverse;
      store<f32>(scale + i, <f32>s);
      store<f32>(scale + bytes + i, <f32>(<f64>load<f32>(beta + i) - mean * s));
    }
  }
}

/**
 * y = x · scale + shift, then silu if asked; x [B, N, C], scaleShift [B, 2C] → y [B, N, C].
 *
 * Words: 0 x, 1 its row stride, 2 y, 3 scaleShift, 4 its row stride, 5 B·N, 6 N, 7 C, 8 rows per task,
 * 9 silu (0 or 1).
 * A channel's result does not depend on its row's place in a task, so strips of an image give the bits of the
 * whole. Tails: the last C % 4 channels by lanes. y may be x where the strides agree.
 */
export function groupNormApplyTask(p: usize, task: i32, _scratch: usize): void {
  const rows = load<i32>(p, 24);
  const perTask = load<i32>(p, 32);
  const first = task * perTask;
  const end = min(first + perTask, load<i32>(p, 20));
  const stride = <usize>load<i32>(p, 4) << 2;
  const cols = load<i32>(p, 28);
  const bytes = <usize>cols << 2;
  const whole = bytes & ~15;
  const lanes = cols & 3;
  const silu = load<i32>(p, 36) != 0;

  let x = <usize>load<u32>(p) + <usize>first * stride;
  let y = <usize>load<u32>(p, 8) + <usize>first * bytes;
  for (let row = first; row < end; row++, x += stride, y += bytes) {
    const scale = <usize>load<u32>(p, 12) + (<usize>(row / rows) * <usize>load<i32>(p, 16) << 2);
    const shift = scale + bytes;
    if (silu) {
      for (let i: usize = 0; i < whole; i += 16) {
        v128.store(y + i, silu_ps(madd(v128.load(x + i), v128.load(scale + i), v128.load(shift + i))));
      }
    } else {
      for (let i: usize = 0; i < whole; i += 16) {
        v128.store(y + i, madd(v128.load(x + i), v128.load(scale + i), v128.load(shift + i)));
      }
    }
    if (lanes) {
      let v = madd(load_tail(x + whole, lanes), load_tail(scale + whole, lanes), load_tail(shift + whole, lanes));
      if (silu) v = silu_ps(v);
      store_tail(y + whole, v, lanes);
    }
  }
}
