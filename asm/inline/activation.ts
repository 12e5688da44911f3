/**
 * SiLU, GELU and quick GELU for four lanes, from our own exponential: the strict build gives the same bits on
 * every engine. Absolute error against the exact function: gelu_ps below 3e-7 up to |x| = 8 and half a unit in the
 * last place of x beyond; silu_ps and quick_gelu_ps 1.5 units in the last place of x (7.1e-7 at |x| = 8). NaN
 * gives NaN.
 *
 * GELU is x·Φ(x) = max(x, 0) − y·Q(y) with y = |x| and Q(y) = erfc(y/√2)/2 = e^(−y²/2) · (c1·t + … + c5·t⁵),
 * t = 1/(1 + 0.34y): the form of Abramowitz and Stegun 7.1.26, coefficients fitted anew so that the error of
 * y·Q(y) is least (4.8e-8 before rounding). Unlike x/2·(1 + erf) nothing cancels for large negative x.
 *
 * Constants lie in memory, four lanes each: V8 rebuilds an inlined v128 constant at every use.
 */
import { exp2_below_ps, exp2_ps } from "./exp";
import { madd } from "./madd";

export const ACTIVATION_TABLE: usize = memory.data<f32>([
  1, 1, 1, 1,
  // −log2(e), −1.702·log2(e), −log2(e)/2
  -1.4426950408889634, -1.4426950408889634, -1.4426950408889634, -1.4426950408889634,
  -2.4554669595930157, -2.4554669595930157, -2.4554669595930157, -2.4554669595930157,
  -0.7213475204444817, -0.7213475204444817, -0.7213475204444817, -0.7213475204444817,
  0.34, 0.34, 0.34, 0.34,
  // y from here on: Q(13) is 6e-39, and y² stays finite.
  13, 13, 13, 13,
  -0.10640231519937515, -0.10640231519937515, -0.10640231519937515, -0.10640231519937515,
  0.33097293972969055, 0.33097293972969055, 0.33097293972969055, 0.33097293972969055,
  -0.04014790430665016, -0.04014790430665016, -0.04014790430665016, -0.04014790430665016,
  0.1862405389547348, 0.1862405389547348, 0.1862405389547348, 0.1862405389547348,
  0.12933440506458282, 0.12933440506458282, 0.12933440506458282, 0.12933440506458282,
  0, 0, 0, 0,
], 16);

// @ts-ignore: decorator
@inline const ONE: usize = 0;
// @ts-ignore: decorator
@inline const SILU: usize = 16;
// @ts-ignore: decorator
@inline const QUICK: usize = 32;
// @ts-ignore: decorator
@inline const HALF_SQUARE: usize = 48;
// @ts-ignore: decorator
@inline const SLOPE: usize = 64;
// @ts-ignore: decorator
@inline const LIMIT: usize = 80;
// @ts-ignore: decorator
@inline const C5: usize = 96;
// @ts-ignore: decorator
@inline const C4: usize = 112;
// @ts-ignore: decorator
@inline const C3: usize = 128;
// @ts-ignore: decorator
@inline const C2: usize = 144;
// @ts-ignore: decorator
@inline const C1: usize = 160;
// @ts-ignore: decorator
@inline const ZERO: usize = 176;

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
  const one = v128.load(ACTIVATION_TABLE, ONE);
  // pmin and pmax keep a NaN in their first argument.
  const y = f32x4.pmin(f32x4.abs(x), v128.load(ACTIVATION_TABLE, LIMIT));
  const e = exp2_below_ps(f32x4.mul(f32x4.mul(y, y), v128.load(ACTIVATION_TABLE, HALF_SQUARE)));
  const t = f32x4.div(one, madd(y, v128.load(ACTIVATION_TABLE, SLOPE), one));
  let w = madd(v128.load(ACTIVATION_TABLE, C5), t, v128.load(ACTIVATION_TABLE, C4));
  w = madd(w, t, v128.load(ACTIVATION_TABLE, C3));
  w = madd(w, t, v128.load(ACTIVATION_TABLE, C2));
  w = madd(w, t, v128.load(ACTIVATION_TABLE, C1));
  const q = f32x4.mul(f32x4.mul(w, t), e);
  return f32x4.sub(f32x4.pmax(x, v128.load(ACTIVATION_TABLE, ZERO)), f32x4.mul(y, q));
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
