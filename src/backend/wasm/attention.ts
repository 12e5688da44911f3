/**
 * Fused attention on the thread pool. Shapes are checked by the caller (`shape_rules.ts`).
 *
 * @module
 */
import { SCRATCH_BYTES } from "../../../asm/layout.ts";
import { Op } from "../../../asm/op.ts";
import type { AttentionOptions } from "../backend.ts";
import { f32Bits, type Runtime, type WasmTensor } from "./runtime.ts";

/** Keys per tile. */
const KEY_UNIT = 5;
/** Beyond this, packing keys and values no longer shows; fewer where Qᵀ would pass 1 MiB. */
const MAX_QUERIES = 1024;
const MAX_QUERY_VALUES = 262144;
/** Tasks to aim at, so that a few threads end at about the same time. */
const ENOUGH_TASKS = 16;
/** Measured flat from 48 to 192 keys, as long as what is packed stays in the second-level cache. */
const MAX_KEYS = 100;
const PACKED_BYTES = 393216;

/** Bytes of scratch that a task uses: Qᵀ, Oᵀ, maxima and sums, packed keys and values, scores. */
export function attentionScratch(depth: number, queryBlock: number, keyBlock: number): number {
  return queryBlock * (8 * depth + 8) + keyBlock / KEY_UNIT * 64 * depth + keyBlock * 32 + 32;
}

/** How a task cuts queries and keys: by the shapes only, so that the bits do not depend on threads. */
export function attentionBlocks(
  { queries, keys, depth, problems }: { queries: number; keys: number; depth: number; problems: number },
): { queryBlock: number; keyBlock: number } {
  const cached = Math.floor(PACKED_BYTES / (64 * depth)) * KEY_UNIT;
  const most = Math.min(MAX_KEYS, Math.max(KEY_UNIT, cached));
  const keyBlocks = Math.ceil(keys / most);
  const keyBlock = Math.ceil(keys / keyBlocks / KEY_UNIT) * KEY_UNIT;
  const evenly = (parts: number) => Math.ceil(queries / parts / 8) * 8;
  let parts = Math.ceil(queries / Math.min(MAX_QUERIES, Math.max(8, MAX_QUERY_VALUES / depth)));
  while (attentionScratch(depth, evenly(parts), keyBlock) > SCRATCH_BYTES && evenly(parts) > 8) parts++;
  while (problems * parts < ENOUGH_TASKS && evenly(2 * parts) >= 128) parts *= 2;
  return { queryBlock: evenly(parts), keyBlock };
}

/**
 * q `[B, N, heads·D]`, k and v `[B, M, heads·D]` → `[B, N, heads·D]`, without row gaps. D is a multiple of 4; a
 * `RangeError` otherwise.
 */
export function attention(
  rt: Runtime,
  q: WasmTensor,
  k: WasmTensor,
  v: WasmTensor,
  options: AttentionOptions,
): WasmTensor {
  const [batch, queries, channels] = q.shape;
  const keys = k.shape[1];
  const { heads } = options;
  const depth = channels / heads;
  const { queryBlock, keyBlock } = attentionBlocks({ queries, keys, depth, problems: batch * heads });
  if (depth % 4 !== 0 || attentionScratch(depth, queryBlock, keyBlock) > SCRATCH_BYTES) {
    const op = options.name === undefined ? "attention" : `attention "${options.name}"`;
    throw new RangeError(`Cannot run ${op}: expected a head width that is a multiple of 4, found ${depth}`);
  }
  const out = rt.alloc(q.shape);
  const scale = options.scale ?? 1 / Math.sqrt(depth);
  rt.run(Op.Attention, batch * heads * Math.ceil(queries / queryBlock), [
    q.ptr,
    k.ptr,
    v.ptr,
    out.ptr,
    q.stride,
    k.stride,
    v.stride,
    out.stride,
    heads,
    depth,
    queries,
    keys,
    options.causal ? 1 : 0,
    f32Bits(scale * Math.LOG2E),
    queryBlock,
    keyBlock,
  ]);
  return out;
}
