import type { Backend, NormWeight, Tensor, Weight } from "../src/backend/backend.ts";

/** The operations that compute; views and memory management move nothing. */
const MOVING = [
  "linear",
  "conv2d",
  "groupNorm",
  "groupNormAffine",
  "affine",
  "layerNorm",
  "attention",
  "geglu",
  "activation",
  "upsample",
  "concat",
  "stack",
  "lincomb",
  "blend",
  "write",
  "match",
  "merge",
  "unmerge",
] as const;

/** What the operations must move at least: every tensor and weight that they name, once. */
export interface Traffic {
  calls: number;
  /** Of activations. */
  elements: number;
  /** Of weights, of matrix products and convolutions. */
  weights: number;
}

/** A backend that does what `b` does and adds up in `traffic`. */
export function countTraffic(b: Backend, traffic: Traffic): Backend {
  const counted = new Map<PropertyKey, (...args: unknown[]) => unknown>();
  for (const name of MOVING) {
    const op = (b[name] as (...args: unknown[]) => unknown).bind(b);
    counted.set(name, (...args) => {
      const result = op(...args);
      traffic.calls++;
      for (const x of [...args, result]) add(x, traffic);
      return result;
    });
  }
  return new Proxy(b, {
    get(target, key) {
      const found = counted.get(key);
      if (found) return found;
      const value = Reflect.get(target, key, target);
      if (typeof value !== "function") return value;
      const bound = value.bind(target); // private fields refuse a proxy as `this`
      counted.set(key, bound);
      return bound;
    },
  });
}

/** Adds whatever a parameter holds: a tensor, a weight, options or terms with tensors in them. */
function add(x: unknown, traffic: Traffic): void {
  if (typeof x !== "object" || x === null) return;
  const { shape } = x as Partial<Tensor>, { cin, cout, kernel } = x as Partial<Weight>;
  const { channels } = x as Partial<NormWeight>;
  if (Array.isArray(x)) { for (const part of x) add(part, traffic); }
  else if (shape) traffic.elements += shape.reduce((a, n) => a * n, 1);
  else if (cin && cout && kernel) traffic.weights += kernel * kernel * cin * cout + cout;
  else if (channels) traffic.weights += 2 * channels;
  else if ("residual" in x || "rowBias" in x) {
    const { residual, rowBias } = x as { residual?: Tensor; rowBias?: Tensor };
    add(residual, traffic);
    add(rowBias, traffic);
  }
}
