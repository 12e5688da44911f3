/**
 * From what a network predicts to x_0 and ε, as coefficients over (x_t, network output).
 *
 * @module
 */
import type { Lincomb, PredictionType, Term } from "./contract.ts";

/** A value that is `x` · x_t + `out` · (network output). */
export interface Affine {
  readonly x: number;
  readonly out: number;
}

/** x_0 where x_t = √α · x_0 + √(1 − α) · ε. */
export function predictX0(type: PredictionType, alpha: number): Affine {
  const a = Math.sqrt(alpha), s = Math.sqrt(1 - alpha);
  if (type === "epsilon") return { x: 1 / a, out: -s / a };
  if (type === "v_prediction") return { x: a, out: -s };
  return { x: 0, out: 1 };
}

/** ε under the same convention. */
export function predictNoise(type: PredictionType, alpha: number): Affine {
  const a = Math.sqrt(alpha), s = Math.sqrt(1 - alpha);
  if (type === "epsilon") return { x: 0, out: 1 };
  if (type === "v_prediction") return { x: s, out: a };
  return { x: 1 / s, out: -a / s };
}

/** x_0 where x_t = x_0 + σ · ε, and the network saw x_t / √(σ² + 1). */
export function predictX0FromSigma(type: PredictionType, sigma: number): Affine {
  if (type === "epsilon") return { x: 1, out: -sigma };
  const square = sigma * sigma + 1;
  if (type === "v_prediction") return { x: 1 / square, out: -sigma / Math.sqrt(square) };
  return { x: 0, out: 1 };
}

/** The combination without its zero terms, which a device need not read (0 · ∞ would be NaN besides). */
export function combine<T>(lincomb: Lincomb<T>, terms: readonly Term<T>[]): T {
  const kept = terms.filter(([c]) => c !== 0);
  return lincomb(kept.length > 0 ? kept : terms.slice(0, 1));
}
