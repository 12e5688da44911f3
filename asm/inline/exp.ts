/**
 * 2^x and e^x for four lanes, relative error below 2.2e-7 (the polynomial's own is 1.1e-7).
 *
 * x = n + r with n the nearest integer, 2^r by a polynomial of degree 5 (minimax in relative error on
 * [-1/2, 1/2], constant term fixed at 1, found by Lawson's iteration), 2^n by moving n + 127 into the exponent.
 * Results below 2^-126.5 are 0; x is clamped so that the largest result is finite (2^127.49). -inf gives 0,
 * +inf the largest result, NaN gives NaN. The strict build gives the same bits on every engine.
 *
 * Constants lie in memory, four lanes each: V8 rebuilds an inlined v128 constant at every use.
 */
import { madd } from "./madd";

/** 16-byte rows: see the offsets below. */
export const EXP_TABLE: usize = memory.data<f32>([
  0.001326472731307149, 0.001326472731307149, 0.001326472731307149, 0.001326472731307149,
  0.009671512991189957, 0.009671512991189957, 0.009671512991189957, 0.009671512991189957,
  0.05550733581185341, 0.05550733581185341, 0.05550733581185341, 0.05550733581185341,
  0.24022242426872253, 0.24022242426872253, 0.24022242426872253, 0.24022242426872253,
  0.6931470036506653, 0.6931470036506653, 0.6931470036506653, 0.6931470036506653,
  1, 1, 1, 1,
  // 1.5·2^23 + 127: adding it leaves n + 127 in the low bits.
  12583039, 12583039, 12583039, 12583039,
  -127, -127, -127, -127,
  127.49, 127.49, 127.49, 127.49,
  // log2(e); -ln(2) in two parts, the first short enough for n times it to be exact; limits of exp_ps.
  1.4426950408889634, 1.4426950408889634, 1.4426950408889634, 1.4426950408889634,
  -0.693359375, -0.693359375, -0.693359375, -0.693359375,
  2.12194440e-4, 2.12194440e-4, 2.12194440e-4, 2.12194440e-4,
  -88, -88, -88, -88,
  88.37, 88.37, 88.37, 88.37,
], 16);

// @ts-ignore: decorator
@inline const P5: usize = 0;
// @ts-ignore: decorator
@inline const P4: usize = 16;
// @ts-ignore: decorator
@inline const P3: usize = 32;
// @ts-ignore: decorator
@inline const P2: usize = 48;
// @ts-ignore: decorator
@inline const P1: usize = 64;
// @ts-ignore: decorator
@inline const ONE: usize = 80;
// @ts-ignore: decorator
@inline const MAGIC: usize = 96;
// @ts-ignore: decorator
@inline const LOW2: usize = 112;
// @ts-ignore: decorator
@inline const HIGH2: usize = 128;
// @ts-ignore: decorator
@inline const LOG2E: usize = 144;
// @ts-ignore: decorator
@inline const LN2_HIGH: usize = 160;
// @ts-ignore: decorator
@inline const LN2_LOW: usize = 176;
// @ts-ignore: decorator
@inline const LOW: usize = 192;
// @ts-ignore: decorator
@inline const HIGH: usize = 208;

/** 2^r, |r| ≤ 1/2. */
// @ts-ignore: decorator
@inline
function exp2Fraction(r: v128): v128 {
  let y = madd(v128.load(EXP_TABLE, P5), r, v128.load(EXP_TABLE, P4));
  y = madd(y, r, v128.load(EXP_TABLE, P3));
  y = madd(y, r, v128.load(EXP_TABLE, P2));
  y = madd(y, r, v128.load(EXP_TABLE, P1));
  return madd(y, r, v128.load(EXP_TABLE, ONE));
}

/** 2^x for x ≤ 127.49 (not checked), else as `exp2_ps`: softmax's exponents are never positive by much. */
// @ts-ignore: decorator
@inline
export function exp2_below_ps(x: v128): v128 {
  const magic = v128.load(EXP_TABLE, MAGIC);
  // pmax(x, low) keeps a NaN x and is one instruction, where f32x4.max is several on x64.
  const v = f32x4.pmax(x, v128.load(EXP_TABLE, LOW2));
  const t = f32x4.add(v, magic);
  const r = f32x4.sub(v, f32x4.sub(t, magic));
  return f32x4.mul(exp2Fraction(r), i32x4.shl(t, 23));
}

// @ts-ignore: decorator
@inline
export function exp2_ps(x: v128): v128 {
  return exp2_below_ps(f32x4.pmin(x, v128.load(EXP_TABLE, HIGH2)));
}

// @ts-ignore: decorator
@inline
export function exp_ps(x: v128): v128 {
  const magic = v128.load(EXP_TABLE, MAGIC);
  const v = f32x4.pmax(f32x4.pmin(x, v128.load(EXP_TABLE, HIGH)), v128.load(EXP_TABLE, LOW));
  const log2e = v128.load(EXP_TABLE, LOG2E);
  const t = f32x4.add(f32x4.mul(v, log2e), magic);
  const n = f32x4.sub(t, magic);
  const r = madd(n, v128.load(EXP_TABLE, LN2_LOW), madd(n, v128.load(EXP_TABLE, LN2_HIGH), v));
  return f32x4.mul(exp2Fraction(f32x4.mul(r, log2e)), i32x4.shl(t, 23));
}
