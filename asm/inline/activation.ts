/**
 * SiLU, GELU and quick GELU for four lanes, from our own exponential: the strict build gives the same bits on
 * every engine. Absolute error against the exact function: gelu_ps below 4e-7 up to |x| = 8 and half a unit in the
 * last place of x beyond; silu_ps and quick_gelu_ps 1.5 units in the last place of x (7.1e-7 at |x| = 8). NaN
 * gives NaN.
 *
 * GELU is x·Φ(x) = max(x, 0) − y·Q(y) with y = |x| and Q(y) = erfc(y/√2)/2 ≈ (1 − y²/49)^16 · P(y) up to y = 7,
 * and 0 beyond: the power stands for e^(−y²/2), and P is the polynomial of degree 9 that makes the error of y·Q(y)
 * least (Lawson's iteration; 9.7e-8 before rounding). A third faster than an exponential and a division.
 *
 * Constants lie in memory, four lanes each: V8 rebuilds an inlined v128 constant at every use.
 */
import { exp2_ps } from "./exp";
import { madd } from "./madd";

export const ACTIVATION_TABLE: usize = memory.data<f32>([
  1, 1, 1, 1,
  // −log2(e), −1.702·log2(e)
  -1.4426950408889634, -1.4426950408889634, -1.4426950408889634, -1.4426950408889634,
  -2.4554669595930156, -2.4554669595930156, -2.4554669595930156, -2.4554669595930156,
  // −1/49, 7, 0
  -0.02040816326530612, -0.02040816326530612, -0.02040816326530612, -0.02040816326530612,
  7, 7, 7, 7,
  0, 0, 0, 0,
  // P, from its highest coefficient
  -5.500107249645225e-07, -5.500107249645225e-07, -5.500107249645225e-07, -5.500107249645225e-07,
  1.8250164430355653e-05, 1.8250164430355653e-05, 1.8250164430355653e-05, 1.8250164430355653e-05,
  -0.00024826667504385114, -0.00024826667504385114, -0.00024826667504385114, -0.00024826667504385114,
  0.0018689596327021718, 0.0018689596327021718, 0.0018689596327021718, 0.0018689596327021718,
  -0.008634858764708042, -0.008634858764708042, -0.008634858764708042, -0.008634858764708042,
  0.026212677359580994, 0.026212677359580994, 0.026212677359580994, 0.026212677359580994,
  -0.062495000660419464, -0.062495000660419464, -0.062495000660419464, -0.062495000660419464,
  0.16280943155288696, 0.16280943155288696, 0.16280943155288696, 0.16280943155288696,
  -0.3988613486289978, -0.3988613486289978, -0.3988613486289978, -0.3988613486289978,
  0.49999502301216125, 0.49999502301216125, 0.49999502301216125, 0.49999502301216125,
], 16);

// @ts-ignore: decorator
@inline const ONE: usize = 0;
// @ts-ignore: decorator
@inline const SILU: usize = 16;
// @ts-ignore: decorator
@inline const QUICK: usize = 32;
// @ts-ignore: decorator
@inline const SLOPE: usize = 48;
// @ts-ignore: decorator
@inline const LIMIT: usize = 64;
// @ts-ignore: decorator
@inline const ZERO: usize = 80;
// @ts-ignore: decorator
@inline const C9: usize = 96;
// @ts-ignore: decorator
@inline const C8: usize = 112;
// @ts-ignore: decorator
@inline const C7: usize = 128;
// @ts-ignore: decorator
@inline const C6: usize = 144;
// @ts-ignore: decorator
@inline const C5: usize = 160;
// @ts-ignore: decorator
@inline const C4: usize = 176;
// @ts-ignore: decorator
@inline const C3: usize = 192;
// @ts-ignore: decorator
@inline const C2: usize = 208;
// @ts-ignore: decorator
@inline const C1: usize = 224;
// @ts-ignore: decorator
@inline const C0: usize = 240;

/** x / (1 + e^−x). */
// @ts-ignore: decorator
@inline
export function silu_ps(x: v128): v128 {
  const e = exp2_ps(f32x4.mul(x, v128.load(ACTIVATION_TABLE, SILU)));
  return f32x4.div(x, f32x4.add(v128.load(ACTIVATION_TABLE, ONE), e));
}

/** x / (1 + e^(−1.702x)). */
// @ts-ignore: decorator
@inline
export function quick_gelu_ps(x: v128): v128 {
  const e = exp2_ps(f32x4.mul(x, v128.load(ACTIVATION_TABLE, QUICK)));
  return f32x4.div(x, f32x4.add(v128.load(ACTIVATION_TABLE, ONE), e));
}

/** x·Φ(x), the exact GELU. */
// @ts-ignore: decorator
@inline
export function gelu_ps(x: v128): v128 {
  // pmin and pmax keep a NaN in their first argument.
  const y = f32x4.pmin(f32x4.abs(x), v128.load(ACTIVATION_TABLE, LIMIT));
  let w = madd(f32x4.mul(y, y), v128.load(ACTIVATION_TABLE, SLOPE), v128.load(ACTIVATION_TABLE, ONE));
  w = f32x4.mul(w, w);
  w = f32x4.mul(w, w);
  w = f32x4.mul(w, w);
  w = f32x4.mul(w, w);
  let p = madd(v128.load(ACTIVATION_TABLE, C9), y, v128.load(ACTIVATION_TABLE, C8));
  p = madd(p, y, v128.load(ACTIVATION_TABLE, C7));
  p = madd(p, y, v128.load(ACTIVATION_TABLE, C6));
  p = madd(p, y, v128.load(ACTIVATION_TABLE, C5));
  p = madd(p, y, v128.load(ACTIVATION_TABLE, C4));
  p = madd(p, y, v128.load(ACTIVATION_TABLE, C3));
  p = madd(p, y, v128.load(ACTIVATION_TABLE, C2));
  p = madd(p, y, v128.load(ACTIVATION_TABLE, C1));
  p = madd(p, y, v128.load(ACTIVATION_TABLE, C0));
  return f32x4.sub(f32x4.pmax(x, v128.load(ACTIVATION_TABLE, ZERO)), f32x4.mul(f32x4.mul(y, w), p));
}

/** By number: 0 none, 1 silu, 2 gelu, 3 quick gelu. For tails, not for hot loops. */
// @ts-ignore: decorator
@inline
export function activate_ps(x: v128, kind: i32): v128 {
  if (kind == 1) return silu_ps(x);
  if (kind == 2) return gelu_ps(x);
  if (kind == 3) return quick_gelu_ps(x);
  return x;
}
