import type { Backend, NormWeight, Tensor, Weight } from "../backend/backend.ts";
import type { WeightReader } from "./weights.ts";

/** A residual block of two 3×3 convolutions, as diffusers' `ResnetBlock2D`. */
export interface Resnet {
  norm1: NormWeight;
  conv1: Weight;
  /** The UNet's only: adds the time step to every pixel. */
  time_emb_proj?: Weight;
  norm2: NormWeight;
  conv2: Weight;
  /** Where the number of channels changes. */
  conv_shortcut?: Weight;
}

export interface ResnetOptions {
  groups: number;
  eps: number;
}

export async function loadResnet(
  w: WeightReader,
  { cin, cout, temb }: { cin: number; cout: number; temb?: number },
): Promise<Resnet> {
  return {
    norm1: await w.norm("norm1", cin),
    conv1: await w.conv("conv1", cin, cout),
    time_emb_proj: temb === undefined ? undefined : await w.linear("time_emb_proj", temb, cout),
    norm2: await w.norm("norm2", cout),
    conv2: await w.conv("conv2", cout, cout),
    conv_shortcut: cin === cout ? undefined : await w.pointwise("conv_shortcut", cin, cout),
  };
}

/** `temb` is silu of the time embedding, `[B, temb]`; x is `[B, H, W, Cin]`. */
export function resnet(b: Backend, w: Resnet, x: Tensor, temb: Tensor, options: ResnetOptions): Tensor {
  return b.scope(() => {
    const rowBias = w.time_emb_proj && b.linear(temb, w.time_emb_proj); // [B, Cout]
    const h = b.scope(() =>
      b.conv2d(b.groupNorm(x, w.norm1, { ...options, silu: true }), w.conv1, { rowBias })
    );
    const residual = w.conv_shortcut ? b.linear(x, w.conv_shortcut) : x;
    return b.conv2d(b.groupNorm(h, w.norm2, { ...options, silu: true }), w.conv2, { residual });
  });
}
