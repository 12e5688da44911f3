/**
 * Fused attention on the GPU. Shapes are checked by the caller (`shape_rules.ts`).
 *
 * @module
 */
import source from "../../../kernels/attention.wgsl" with { type: "text" };
import type { AttentionOptions } from "../backend.ts";
import { copyRows } from "./elementwise.ts";
import { f32Bits, foldGroups, type GpuRuntime, type GpuTensor, type Kernel } from "./runtime.ts";
import { unroll } from "./unroll.ts";

/** Queries and keys of a tile. */
const TILE = 32;
/** Threads along the keys of a tile. */
const KEY_THREADS = 8;
/** Vectors of four in a row of Q's and K's tiles, so that these, P and the rest are within 16 kB. */
const MAX_CHUNK = 10;
/** Multiply-adds of one dispatch: 0.2 s where a device does 0.1 TFLOP/s, so that none is reset. */
const MAX_MACS = 1e10;

/** Pieces of at most `most`, without rest if that takes at most half as many more of them. */
function pieces(whole: number, most: number): { size: number; count: number } {
  const least = Math.ceil(whole / most);
  for (let count = least; count <= 1.5 * least; count++) {
    if (whole % count === 0) return { size: whole / count, count };
  }
  const size = Math.ceil(whole / least);
  return { size, count: Math.ceil(whole / size) };
}

/**
 * The constants of kernels/attention.wgsl for a head width. A wide head's output is more than 64 threads have
 * registers for. `OX` threads share a row of the output: the more of them, the fewer values each vector of V meets
 * in a thread; priced at 4 multiply-adds per vector read.
 */
export function attentionSizes(depth: number): Record<string, number> {
  const D4 = depth / 4;
  const WG = D4 <= 20 ? 64 : D4 <= 40 ? 128 : 256;
  const { size: DC4, count: CHUNKS } = pieces(D4, MAX_CHUNK);
  const { size: DV4, count: VCHUNKS } = CHUNKS === 1 ? { size: DC4, count: 1 } : pieces(D4, 2 * DC4);
  const rows = 2 * TILE * (DC4 | 1);
  let OX = 0, least = Infinity;
  for (let across = WG / TILE; across <= WG / 4; across *= 2) {
    const columns = Math.ceil(DV4 / across), queries = TILE * across / WG;
    const price = 16 * columns * queries + 4 * (queries + 4 * columns);
    if (price < least) least = price, OX = across;
  }
  const SQ = TILE * KEY_THREADS / WG, QW = TILE * OX / WG, CW = Math.ceil(DV4 / OX);
  return { D4, WG, DC4, CHUNKS, DV4, VCHUNKS, OX, SQ, QW, CW, TILE: rows };
}

const kernels = new Map<number, Kernel>();

function kernelFor(depth: number): Kernel {
  let kernel = kernels.get(depth);
  if (!kernel) {
    const sizes = attentionSizes(depth);
    const constants = Object.entries(sizes).map(([name, value]) => `const ${name} = ${value}u;\n`);
    kernel = {
      name: `attention_d${depth}`,
      source: constants.join("") + unroll(source, sizes),
      shared: ["row_max"],
    };
    kernels.set(depth, kernel);
  }
  return kernel;
}

/**
 * q `[B, N, heads·D]`, k and v `[B, M, heads·D]` → `[B, N, heads·D]`, without row gaps. D is a multiple of 4; a
 * `RangeError` otherwise.
 */
export function attention(
  rt: GpuRuntime,
  q: GpuTensor,
  k: GpuTensor,
  v: GpuTensor,
  options: AttentionOptions,
): GpuTensor {
  const [batch, queries, channels] = q.shape;
  const keys = k.shape[1];
  const { heads } = options;
  const depth = channels / heads;
  if (depth % 4 !== 0) {
    const op = options.name === undefined ? "attention" : `attention "${options.name}"`;
    throw new RangeError(`Cannot run ${op}: expected a head width that is a multiple of 4, found ${depth}`);
  }
  const out = rt.alloc(q.shape);
  const aligned = [q, k, v].map((x) => {
    if (x.offset % 4 === 0 && x.stride % 4 === 0) return x;
    const copy = rt.alloc(x.shape);
    copyRows(rt, copy, x);
    return copy;
  });
  const tiles = Math.ceil(queries / TILE);
  const tasks = batch * heads * tiles;
  const taskMacs = 2 * TILE * keys * depth;
  const perDispatch = Math.max(1, Math.floor(MAX_MACS / taskMacs));
  for (let first = 0; first < tasks; first += perDispatch) {
    const end = Math.min(first + perDispatch, tasks);
    rt.run(
      kernelFor(depth),
      [
        first,
        end,
        tiles,
        heads,
        queries,
        keys,
        options.causal ? 1 : 0,
        f32Bits((options.scale ?? 1 / Math.sqrt(depth)) * Math.LOG2E),
        ...aligned.flatMap((x) => [x.offset / 4, x.stride / 4]),
      ],
      [...aligned, out],
      foldGroups(end - first),
      (end - first) * taskMacs,
    );
  }
  for (const [i, x] of [q, k, v].entries()) if (aligned[i] !== x) rt.release(aligned[i]);
  return out;
}
