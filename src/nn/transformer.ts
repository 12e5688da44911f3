import type { Backend, NormWeight, Tensor, Weight } from "../backend/backend.ts";
import { type LayerMerge, type MergeContext, planLayer } from "../tome/plan.ts";
import {
  type CrossAttention,
  crossAttention,
  loadCrossAttention,
  loadSelfAttention,
  type SelfAttention,
  selfAttention,
} from "./attention.ts";
import type { WeightReader } from "./weights.ts";

/** diffusers' `BasicTransformerBlock`: self-attention, attention to the text, feed-forward. */
export interface TransformerBlock {
  name: string;
  norm1: NormWeight;
  attn1: SelfAttention;
  norm2: NormWeight;
  attn2: CrossAttention;
  norm3: NormWeight;
  ff: { proj: Weight; out: Weight };
}

/** diffusers' `Transformer2DModel`: blocks between two projections, around a residual. */
export interface SpatialTransformer {
  norm: NormWeight;
  proj_in: Weight;
  transformer_blocks: TransformerBlock[];
  proj_out: Weight;
}

export interface TransformerConfig {
  channels: number;
  contextChannels: number;
  heads: number;
  blocks: number;
  linearProjection: boolean;
}

export async function loadSpatialTransformer(
  w: WeightReader,
  c: TransformerConfig,
): Promise<SpatialTransformer> {
  const projection = (name: string) =>
    c.linearProjection ? w.linear(name, c.channels, c.channels) : w.pointwise(name, c.channels, c.channels);
  const transformer_blocks: TransformerBlock[] = [];
  for (let i = 0; i < c.blocks; i++) {
    transformer_blocks.push(await loadBlock(w.at("transformer_blocks").at(i), c));
  }
  return {
    norm: await w.norm("norm", c.channels),
    proj_in: await projection("proj_in"),
    transformer_blocks,
    proj_out: await projection("proj_out"),
  };
}

async function loadBlock(w: WeightReader, c: TransformerConfig): Promise<TransformerBlock> {
  const { channels, contextChannels, heads } = c;
  return {
    name: w.path,
    norm1: await w.norm("norm1", channels),
    attn1: await loadSelfAttention(w.at("attn1"), { channels, heads, bias: false }),
    norm2: await w.norm("norm2", channels),
    attn2: await loadCrossAttention(w.at("attn2"), { channels, contextChannels, heads }),
    norm3: await w.norm("norm3", channels),
    ff: {
      proj: await w.linear("ff.net.0.proj", channels, 8 * channels),
      out: await w.linear("ff.net.2", 4 * channels, channels),
    },
  };
}

export interface TransformerInput {
  /** `[B, M, Cctx]` */
  context: Tensor;
  groups: number;
  /** What this network call merges; nothing when absent. */
  merging?: MergeContext;
}

/** x `[B, H, W, C]` → the same shape. */
export function spatialTransformer(
  b: Backend,
  w: SpatialTransformer,
  x: Tensor,
  input: TransformerInput,
): Tensor {
  const [batch, height, width, channels] = x.shape;
  return b.scope(() => {
    const h = b.linear(b.groupNorm(x, w.norm, { groups: input.groups, eps: 1e-6 }), w.proj_in);
    let tokens = b.reshape(h, [batch, height * width, channels]); // [B, N, C]
    for (const block of w.transformer_blocks) {
      tokens = transformerBlock(b, block, tokens, { ...input, height, width });
    }
    return b.linear(b.reshape(tokens, x.shape), w.proj_out, { residual: x });
  });
}

/** x `[B, N, C]`, tokens of a height × width grid. The merging is where arXiv 2303.17604 puts it. */
function transformerBlock(
  b: Backend,
  w: TransformerBlock,
  x: Tensor,
  { context, merging, height, width }: TransformerInput & { height: number; width: number },
): Tensor {
  return b.scope(() => {
    const plan = planLayer(b, x, { merging, name: w.name, height, width });
    x = around(
      plan.attn,
      x,
      b.layerNorm(x, w.norm1, EPS),
      (h, residual) => selfAttention(b, w.attn1, h, { residual }),
    );
    x = around(
      plan.cross,
      x,
      b.layerNorm(x, w.norm2, EPS),
      (h, residual) => crossAttention(b, w.attn2, h, { context, residual }),
    );
    return around(
      plan.mlp,
      x,
      b.layerNorm(x, w.norm3, EPS),
      (h, residual) => feedForward(b, w.ff, h, residual),
    );
  });
}

const EPS = { eps: 1e-5 };

/** x + unmerge(f(merge(h))); without a merge, f adds the residual itself while its product is in the cache. */
function around(
  merge: LayerMerge | undefined,
  x: Tensor,
  h: Tensor,
  f: (h: Tensor, residual?: Tensor) => Tensor,
): Tensor {
  return merge ? merge.unmerge(f(merge.merge(h)), x) : f(h, x);
}

function feedForward(b: Backend, w: TransformerBlock["ff"], x: Tensor, residual?: Tensor): Tensor {
  return b.scope(() => b.linear(b.geglu(b.linear(x, w.proj)), w.out, { residual }));
}
