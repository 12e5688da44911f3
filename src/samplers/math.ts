/**
 * exp, log, sin, cos and pow that give the same bits in every engine.
 *
 * `Math.exp` and its kin differ in the last bit between V8, JavaScriptCore and SpiderMonkey, and a noise tensor
 * or a sigma that differs there draws another picture. These use only what IEEE 754 and ECMAScript fix exactly:
 * + − × ÷, `Math.sqrt`, `Math.floor` and the bits of a double. Arguments are reduced with a remainder of twice the
 * precision, then summed as Taylor series; errors stay below 1 ulp (`tests/samplers/math_test.ts`).
 *
 * @module
 */

const f64 = new Float64Array(1);
const u32 = new Uint32Array(f64.buffer);
/** Index of the half with sign and exponent. */
const HIGH = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1 ? 1 : 0;

// ln 2 with 32 bits in the first part, so that k · LN2_HI is exact for every exponent k.
const LN2_HI = 0.6931471803691238;
const LN2_LO = 1.9082149292705877e-10;
const LOG2_E = 1.4426950408889634;
// π/2 in parts of 33, 33 and 53 bits: n · part is exact for n < 2^20.
const HALF_PI_1 = 1.5707963267341256;
const HALF_PI_2 = 6.077100506303966e-11;
const HALF_PI_3 = 2.0222662487959506e-21;
const TWO_BY_PI = 0.6366197723675814;
/** Largest |x| whose multiple of π/2 stays below 2^20. */
const TRIG_LIMIT = 1.6e6;

/** 2^k for −1022 ≤ k ≤ 1023. */
function powerOfTwo(k: number): number {
  u32[1 - HIGH] = 0;
  u32[HIGH] = (k + 1023) << 20;
  return f64[0];
}

/** The rounding error of the product p = a · b (Dekker), for factors below 2^996. */
function productError(a: number, b: number, p: number): number {
  const ta = a * 134217729, tb = b * 134217729; // 2^27 + 1
  const ah = ta - (ta - a), bh = tb - (tb - b);
  const al = a - ah, bl = b - bh;
  return ((ah * bh - p) + ah * bl + al * bh) + al * bl;
}

/** The rounding error of the sum s = a + b (Knuth). */
function sumError(a: number, b: number, s: number): number {
  const bb = s - a;
  return (a - (s - bb)) + (b - bb);
}

// Second results of the functions below: the part of a value that its double leaves out.
let low = 0;

/** log x of a positive finite x as a double and its remainder in `low`, good to about 2^-60 relative. */
function logParts(x: number): number {
  let k = 0;
  if (x < 2.2250738585072014e-308) {
    x *= 18014398509481984; // 2^54, out of the subnormals
    k = -54;
  }
  f64[0] = x;
  k += (u32[HIGH] >>> 20) - 1023;
  u32[HIGH] = (u32[HIGH] & 0xfffff) | 0x3ff00000;
  let m = f64[0];
  if (m > 1.4142135623730951) {
    m *= 0.5;
    k += 1;
  }
  // log m = 2 atanh s with s = f / (2 + f), |s| ≤ 0.172.
  const f = m - 1;
  const g = 2 + f;
  const gLow = f - (g - 2);
  const s = f / g;
  const p = s * g;
  const sLow = ((f - p) - productError(s, g, p) - s * gLow) / g;
  const z = s * s;
  let r = 1 / 25;
  for (let n = 23; n >= 3; n -= 2) r = r * z + 1 / n;
  const tail = 2 * (sLow + s * (r * z)) + k * LN2_LO;
  const a = k * LN2_HI, b = 2 * s;
  const sum = a + b;
  const rest = sumError(a, b, sum) + tail;
  const hi = sum + rest;
  low = (sum - hi) + rest;
  return hi;
}

/** e^(hi + lo) for |lo| far below |hi|. */
function expParts(hi: number, lo: number): number {
  if (hi > 709.8) return Infinity;
  if (hi < -745.2) return 0;
  const k = Math.floor(hi * LOG2_E + 0.5);
  const a = hi - k * LN2_HI;
  const b = lo - k * LN2_LO;
  const r = a + b;
  const c = sumError(a, b, r);
  let q = 1 / 6227020800;
  for (let n = 13, factorial = 6227020800; n > 2; n--) {
    factorial /= n;
    q = q * r + 1 / factorial;
  }
  const tail = c + r * r * q;
  const s = r + tail;
  const sum = 1 + s;
  const y = sum + (((1 - sum) + s) + ((r - s) + tail));
  // In two factors, since neither 2^1024 nor 2^-1075 is a normal double.
  const half = k >> 1;
  return y * powerOfTwo(half) * powerOfTwo(k - half);
}

/** Quadrant of x; its remainder within ±π/4 goes to `reduced` and `low`. */
let reduced = 0;
function quadrant(x: number): number {
  if (!(Math.abs(x) <= TRIG_LIMIT)) {
    throw new RangeError(`Cannot take the sine of ${x}: expected an angle within ±${TRIG_LIMIT}`);
  }
  const n = Math.floor(x * TWO_BY_PI + 0.5);
  const a = x - n * HALF_PI_1;
  const b = -n * HALF_PI_2;
  const s = a + b;
  const rest = sumError(a, b, s) - n * HALF_PI_3;
  reduced = s + rest;
  low = (s - reduced) + rest;
  return n & 3;
}

/** sin(r + c) for |r| ≤ π/4. */
function sinKernel(r: number, c: number): number {
  const z = r * r;
  let p = 1 / 355687428096000;
  p = p * z - 1 / 1307674368000;
  p = p * z + 1 / 6227020800;
  p = p * z - 1 / 39916800;
  p = p * z + 1 / 362880;
  p = p * z - 1 / 5040;
  p = p * z + 1 / 120;
  p = p * z - 1 / 6;
  return r + (r * z * p + c * (1 - 0.5 * z));
}

/** cos(r + c) for |r| ≤ π/4. */
function cosKernel(r: number, c: number): number {
  const z = r * r;
  let p = -1 / 6402373705728000;
  p = p * z + 1 / 20922789888000;
  p = p * z - 1 / 87178291200;
  p = p * z + 1 / 479001600;
  p = p * z - 1 / 3628800;
  p = p * z + 1 / 40320;
  p = p * z - 1 / 720;
  p = p * z + 1 / 24;
  const h = 0.5 * z;
  const w = 1 - h;
  return w + (((1 - w) - h) + (z * z * p - r * c));
}

/** e^x, the same bits in every engine. */
export function exp(x: number): number {
  return x !== x ? x : expParts(x, 0);
}

/** Natural logarithm: NaN below 0, −∞ at 0. */
export function log(x: number): number {
  if (!(x >= 0)) return NaN;
  if (x === 0) return -Infinity;
  if (x === Infinity) return x;
  return logParts(x);
}

/** Sine of x radians, |x| ≤ 1.6e6, else a `RangeError`. */
export function sin(x: number): number {
  if (x === 0) return x;
  const q = quadrant(x);
  const y = q & 1 ? cosKernel(reduced, low) : sinKernel(reduced, low);
  return q & 2 ? -y : y;
}

/** Cosine of x radians, |x| ≤ 1.6e6, else a `RangeError`. */
export function cos(x: number): number {
  const q = quadrant(x);
  const y = q & 1 ? sinKernel(reduced, low) : cosKernel(reduced, low);
  return q === 1 || q === 2 ? -y : y;
}

/** x^y for x ≥ 0 and finite y, else NaN. Within 1 ulp while the result lies in 1e-14 … 1e14, 3 ulp elsewhere. */
export function pow(x: number, y: number): number {
  if (!(x >= 0) || !(Math.abs(y) < Infinity)) return NaN;
  if (y === 0 || x === 1) return 1;
  if (x === 0 || x === Infinity) return (x === 0) === (y > 0) ? 0 : Infinity;
  const hi = logParts(x);
  const lo = low;
  const p = y * hi;
  if (!(Math.abs(p) < 800)) return p > 0 ? Infinity : 0;
  return expParts(p, productError(y, hi, p) + y * lo);
}
