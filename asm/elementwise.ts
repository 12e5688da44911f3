/**
 * Element-wise kernels and copies. Inputs are strided unless their words say otherwise, outputs without gaps.
 *
 * `values` in the words: rows that lie without gaps are handed over as one run, cut in rows of any width, the last
 * of which may be short; row r then has min(C, values − r·C) values. Every lane is computed alike, tails too, so a
 * value does not depend on how the run was cut.
 */
import { activate_ps, gelu_ps, quick_gelu_ps, silu_ps } from "./inline/activation";
import { madd } from "./inline/madd";
import { load_tail, store_tail } from "./inline/tail";

// @ts-ignore: decorator
@inline
function copyRow(y: usize, x: usize, cols: i32): void {
  const wide = <usize>(cols & ~15) << 2;
  const whole = <usize>(cols & ~3) << 2;
  let i: usize = 0;
  for (; i < wide; i += 64) {
    const a = v128.load(x + i), b = v128.load(x + i, 16), c = v128.load(x + i, 32), d = v128.load(x + i, 48);
    v128.store(y + i, a);
    v128.store(y + i, b, 16);
    v128.store(y + i, c, 32);
    v128.store(y + i, d, 48);
  }
  for (; i < whole; i += 16) v128.store(y + i, v128.load(x + i));
  const lanes = cols & 3;
  if (lanes) store_tail(y + i, load_tail(x + i, lanes), lanes);
}

/**
 * y = act(x); x [rows, C] → y [rows, C].
 *
 * Words: 0 x, 1 its row stride, 2 y, 3 kind (1 silu, 2 gelu, 3 quick gelu), 4 rows, 5 C, 6 rows per task, 7 values.
 * Tails by lanes. y may be x where the strides agree.
 */
export function activationTask(p: usize, task: i32, _scratch: usize): void {
  const kind = load<i32>(p, 12);
  const width = load<i32>(p, 20);
  const perTask = load<i32>(p, 24);
  const first = task * perTask;
  const end = min(first + perTask, load<i32>(p, 16));
  const stride = <usize>load<i32>(p, 4) << 2;
  let left = load<i32>(p, 28) - first * width;
  let x = <usize>load<u32>(p) + <usize>first * stride;
  let y = <usize>load<u32>(p, 8) + (<usize>first * <usize>width << 2);
  for (let row = first; row < end; row++) {
    const cols = min(width, left);
    const whole = <usize>(cols & ~3) << 2;
    if (kind == 1) {
      for (let i: usize = 0; i < whole; i += 16) v128.store(y + i, silu_ps(v128.load(x + i)));
    } else if (kind == 2) {
      for (let i: usize = 0; i < whole; i += 16) v128.store(y + i, gelu_ps(v128.load(x + i)));
    } else {
      for (let i: usize = 0; i < whole; i += 16) v128.store(y + i, quick_gelu_ps(v128.load(x + i)));
    }
    const lanes = cols & 3;
    if (lanes) store_tail(y + whole, activate_ps(load_tail(x + whole, lanes), kind), lanes);
    left -= width;
    x += stride;
    y += <usize>width << 2;
  }
}

/**
 * y = x[:, :C] · gelu(x[:, C:]); x [rows, 2C] → y [rows, C].
 *
 * Words: 0 x, 1 its row stride, 2 y, 3 rows, 4 C, 5 rows per task. Tails by lanes.
 */
export function gegluTask(p: usize, task: i32, _scratch: usize): void {
  const cols = load<i32>(p, 16);
  const perTask = load<i32>(p, 20);
  const first = task * perTask;
  const end = min(first + perTask, load<i32>(p, 12));
  const stride = <usize>load<i32>(p, 4) << 2;
  const bytes = <usize>cols << 2;
  const whole = bytes & ~15;
  const lanes = cols & 3;
  let x = <usize>load<u32>(p) + <usize>first * stride;
  let y = <usize>load<u32>(p, 8) + <usize>first * bytes;
  for (let row = first; row < end; row++) {
    const gate = x + bytes;
    for (let i: usize = 0; i < whole; i += 16) {
      v128.store(y + i, f32x4.mul(v128.load(x + i), gelu_ps(v128.load(gate + i))));
    }
    if (lanes) {
      store_tail(y + whole, f32x4.mul(load_tail(x + whole, lanes), gelu_ps(load_tail(gate + whole, lanes))), lanes);
    }
    x += stride;
    y += bytes;
  }
}

/**
 * y[b, i, j] = x[b, ⌊i/2⌋, ⌊j/2⌋]; x [B, H, W, C] → y [B, H', W', C], H' 2H or 2H − 1, W' likewise.
 *
 * Words: 0 x, 1 its row stride (between pixels), 2 y, 3 B·H', 4 H, 5 W, 6 H', 7 W', 8 C, 9 output rows per task.
 * Tails by lanes. No aliasing.
 */
export function upsampleTask(p: usize, task: i32, _scratch: usize): void {
  const h = load<i32>(p, 16);
  const w = load<i32>(p, 20);
  const height = load<i32>(p, 24);
  const width = load<i32>(p, 28);
  const cols = load<i32>(p, 32);
  const perTask = load<i32>(p, 36);
  const first = task * perTask;
  const end = min(first + perTask, load<i32>(p, 12));
  const stride = <usize>load<i32>(p, 4) << 2;
  const bytes = <usize>cols << 2;
  let y = <usize>load<u32>(p, 8) + <usize>first * <usize>width * bytes;
  for (let row = first; row < end; row++) {
    const image = row / height;
    const i = (row - image * height) >> 1;
    const x = <usize>load<u32>(p) + <usize>(image * h + i) * <usize>w * stride;
    for (let j = 0; j < width; j++) {
      copyRow(y, x + <usize>(j >> 1) * stride, cols);
      y += bytes;
    }
  }
}

/**
 * y = x; x [rows, C] → y [rows, C], both strided.
 *
 * Words: 0 x, 1 its row stride, 2 y, 3 its row stride, 4 rows, 5 C, 6 rows per task, 7 values.
 * Tails by lanes. x and y do not overlap, or are the same.
 */
export function copyRowsTask(p: usize, task: i32, _scratch: usize): void {
  const width = load<i32>(p, 20);
  const perTask = load<i32>(p, 24);
  const first = task * perTask;
  const end = min(first + perTask, load<i32>(p, 16));
  const stride = <usize>load<i32>(p, 4) << 2;
  const outStride = <usize>load<i32>(p, 12) << 2;
  let left = load<i32>(p, 28) - first * width;
  let x = <usize>load<u32>(p) + <usize>first * stride;
  let y = <usize>load<u32>(p, 8) + <usize>first * outStride;
  for (let row = first; row < end; row++) {
    copyRow(y, x, min(width, left));
    left -= width;
    x += stride;
    y += outStride;
  }
}

/** Σ coefficient · term at byte i of a row, in the order of the terms (12 bytes each: x, row stride, coefficient). */
// @ts-ignore: decorator
@inline
function lincombAt(terms: usize, end: usize, row: usize, i: usize, lanes: i32): v128 {
  let sum = f32x4.splat(0);
  for (let t = terms; t < end; t += 12) {
    const at = <usize>load<u32>(t) + (row * <usize>load<i32>(t, 4) << 2) + i;
    const v = lanes == 4 ? v128.load(at) : load_tail(at, lanes);
    const c = v128.load32_splat(t, 8);
    sum = t == terms ? f32x4.mul(c, v) : madd(c, v, sum);
  }
  return sum;
}

/**
 * y = c₀·x₀ + c₁·x₁ + …, added in that order; xᵢ [rows, C] → y [rows, C]. 1 to 6 terms.
 *
 * Words: 0 y, 1 rows, 2 C, 3 rows per task, 4 values, 5 terms, then for each term x, its row stride, c (f32).
 * Tails by lanes. y may be a term whose stride agrees.
 */
export function lincombTask(p: usize, task: i32, _scratch: usize): void {
  const width = load<i32>(p, 8);
  const perTask = load<i32>(p, 12);
  const first = task * perTask;
  const end = min(first + perTask, load<i32>(p, 4));
  const terms = p + 24;
  const last = terms + <usize>(load<i32>(p, 20) * 12);
  let left = load<i32>(p, 16) - first * width;
  let y = <usize>load<u32>(p) + (<usize>first * <usize>width << 2);
  for (let row = first; row < end; row++) {
    const cols = min(width, left);
    const whole = <usize>(cols & ~3) << 2;
    for (let i: usize = 0; i < whole; i += 16) v128.store(y + i, lincombAt(terms, last, row, i, 4));
    const lanes = cols & 3;
    if (lanes) store_tail(y + whole, lincombAt(terms, last, row, whole, lanes), lanes);
    left -= width;
    y += <usize>width << 2;
  }
}

/**
 * y = m·a + (1 − m)·b; m [rows], a and b [rows, C] → y [rows, C]. Exactly a where m is 1 and b where it is 0, if
 * both are finite.
 *
 * Words: 0 m, 1 its row stride, 2 a, 3 its row stride, 4 b, 5 its row stride, 6 y, 7 rows, 8 C, 9 rows per task.
 * Tails by lanes. y may be a or b where the strides agree.
 */
export function blendTask(p: usize, task: i32, _scratch: usize): void {
  const cols = load<i32>(p, 32);
  const perTask = load<i32>(p, 36);
  const first = task * perTask;
  const end = min(first + perTask, load<i32>(p, 28));
  const maskStride = <usize>load<i32>(p, 4) << 2;
  const aStride = <usize>load<i32>(p, 12) << 2;
  const bStride = <usize>load<i32>(p, 20) << 2;
  const bytes = <usize>cols << 2;
  const whole = bytes & ~15;
  const lanes = cols & 3;
  let mask = <usize>load<u32>(p) + <usize>first * maskStride;
  let a = <usize>load<u32>(p, 8) + <usize>first * aStride;
  let b = <usize>load<u32>(p, 16) + <usize>first * bStride;
  let y = <usize>load<u32>(p, 24) + <usize>first * bytes;
  for (let row = first; row < end; row++) {
    const m = v128.load32_splat(mask);
    const rest = f32x4.sub(f32x4.splat(1), m);
    for (let i: usize = 0; i < whole; i += 16) {
      v128.store(y + i, madd(m, v128.load(a + i), f32x4.mul(rest, v128.load(b + i))));
    }
    if (lanes) {
      store_tail(y + whole, madd(m, load_tail(a + whole, lanes), f32x4.mul(rest, load_tail(b + whole, lanes))), lanes);
    }
    mask += maskStride;
    a += aStride;
    b += bStride;
    y += bytes;
  }
}
