import { Op } from "../../../asm/op.ts";
import type { ConvOptions } from "../backend.ts";
import { conv2dRule, convPad } from "../shape_rules.ts";
import type { WasmHost } from "./host.ts";
import { product } from "./linear.ts";
import type { WasmTensor } from "./runtime.ts";
import type { WasmWeight } from "./weights.ts";

/** `[B, H, W, Cin]` → `[B, H', W', Cout]`. */
export function conv2d(rt: WasmHost, x: WasmTensor, w: WasmWeight, options: ConvOptions = {}): WasmTensor {
  const shape = conv2dRule(x, w, options);
  const out = rt.alloc(shape);
  const stride = options.stride ?? 1;
  const [top, left, bottom, right] = convPad(w, options);
  if (w.kernel === 1 && stride === 1 && top + left + bottom + right === 0) {
    product(rt, Op.Gemm, { x, w, out, options, geometry: [] });
  } else {
    const [, height, width, channels] = x.shape;
    const geometry = [height, width, channels, shape[1], shape[2], w.kernel, stride, top, left];
    product(rt, Op.Conv, { x, w, out, options, geometry });
  }
  return out;
}
