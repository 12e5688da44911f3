import type { Backend, Tensor, Weight } from "../backend/backend.ts";
import type { WeightReader } from "./weights.ts";

/** Self-attention with one product for queries, keys and values. */
export interface SelfAttention {
  name: string;
  heads: number;
  qkv: Weight;
  to_out: Weight;
}

/** Attention to a text. */
export interface CrossAttention {
  name: string;
  heads: number;
  to_q: Weight;
  kv: Weight;
  to_out: Weight;
}

/** The names that diffusers' `Attention` gives its matrices. */
export const DIFFUSERS_ATTENTION = { q: "to_q", k: "to_k", v: "to_v", out: "to_out.0" };

export async function loadSelfAttention(
  w: WeightReader,
  { channels, heads, bias, names = DIFFUSERS_ATTENTION }: {
    channels: number;
    heads: number;
    bias: boolean;
    names?: typeof DIFFUSERS_ATTENTION;
  },
): Promise<SelfAttention> {
  return {
    name: w.path,
    heads,
    qkv: await w.stacked([names.q, names.k, names.v], channels, channels, bias),
    to_out: await w.linear(names.out, channels, channels),
  };
}

export async function loadCrossAttention(
  w: WeightReader,
  { channels, contextChannels, heads }: { channels: number; contextChannels: number; heads: number },
): Promise<CrossAttention> {
  return {
    name: w.path,
    heads,
    to_q: await w.linear("to_q", channels, channels, false),
    kv: await w.stacked(["to_k", "to_v"], contextChannels, channels, false),
    to_out: await w.linear("to_out.0", channels, channels),
  };
}

/** x `[B, N, C]` → `[B, N, C]`, plus the residual. */
export function selfAttention(
  b: Backend,
  w: SelfAttention,
  x: Tensor,
  options: { residual?: Tensor; causal?: boolean } = {},
): Tensor {
  return b.scope(() => {
    const [q, k, v] = split(b, b.linear(x, w.qkv), 3);
    const h = b.attention(q, k, v, { heads: w.heads, causal: options.causal, name: w.name });
    return b.linear(h, w.to_out, { residual: options.residual });
  });
}

/** x `[B, N, C]`, context `[B, M, Cctx]` → `[B, N, C]`, plus the residual. */
export function crossAttention(
  b: Backend,
  w: CrossAttention,
  x: Tensor,
  options: { context: Tensor; residual?: Tensor },
): Tensor {
  return b.scope(() => {
    const q = b.linear(x, w.to_q);
    const [k, v] = split(b, b.linear(options.context, w.kv), 2);
    return b.linear(b.attention(q, k, v, { heads: w.heads, name: w.name }), w.to_out, {
      residual: options.residual,
    });
  });
}

function split(b: Backend, x: Tensor, parts: number): Tensor[] {
  const width = x.shape[x.shape.length - 1] / parts;
  return Array.from({ length: parts }, (_, i) => b.columns(x, i * width, (i + 1) * width));
}
