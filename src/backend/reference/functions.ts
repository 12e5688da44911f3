import type { Activation } from "../backend.ts";

/**
 * erf(x) = 2/√π · exp(−x²) · Σ 2ⁿ x²ⁿ⁺¹ / (2n+1)!!, whose terms all have one sign, so that nothing cancels
 * (Abramowitz and Stegun 7.1.6). Exact to a few ulps of f64.
 */
export function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x, sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= 2 * x * x / (2 * n + 1);
    sum += term;
  }
  return 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * sum;
}

export const gelu = (x: number) => x * 0.5 * (1 + erf(x * Math.SQRT1_2));

const silu = (x: number) => x / (1 + Math.exp(-x));

const quickGelu = (x: number) => x / (1 + Math.exp(-1.702 * x));

export function activationFunction(kind: Activation | undefined): (x: number) => number {
  switch (kind) {
    case undefined:
      return (x) => x;
    case "silu":
      return silu;
    case "gelu":
      return gelu;
    case "quick_gelu":
      return quickGelu;
    default:
      return kind satisfies never;
  }
}
