import type { ConvOptions } from "../backend.ts";
import { conv2dRule, convPad } from "../shape_rules.ts";
import { product } from "./linear.ts";
import type { GpuRuntime, GpuTensor } from "./runtime.ts";
import type { GpuWeight } from "./weights.ts";

/** `[B, H, W, Cin]` → `[B, H', W', Cout]`: an implicit product, whose matrix of pixels is never stored. */
export function conv2d(rt: GpuRuntime, x: GpuTensor, w: GpuWeight, options: ConvOptions = {}): GpuTensor {
  const shape = conv2dRule(x, w, options);
  const out = rt.alloc(shape);
  const [, height, width] = x.shape;
  const [top, left] = convPad(w, options);
  const geometry = { height, width, outWidth: shape[2], step: options.stride ?? 1, top, left };
  product(rt, { x, w, out, options, geometry });
  return out;
}
