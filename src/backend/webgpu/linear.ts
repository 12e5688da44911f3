/** Matrix products on the GPU, and what convolutions share with them: the dispatches around kernels/matmul.wgsl. */
import activationSource from "../../../kernels/inline/activation.wgsl" with { type: "text" };
import productSource from "../../../kernels/inline/product.wgsl" with { type: "text" };
import xScalar from "../../../kernels/inline/x_scalar.wgsl" with { type: "text" };
import xVector from "../../../kernels/inline/x_vector.wgsl" with { type: "text" };
import yScalar from "../../../kernels/inline/y_scalar.wgsl" with { type: "text" };
import yVector from "../../../kernels/inline/y_vector.wgsl" with { type: "text" };
import matmulSource from "../../../kernels/matmul.wgsl" with { type: "text" };
import matvecSource from "../../../kernels/matvec.wgsl" with { type: "text" };
import type { Activation, Epilogue } from "../backend.ts";
import { linearRule } from "../shape_rules.ts";
import { type GpuRuntime, type GpuTensor, type Kernel, matrix } from "./runtime.ts";
import type { GpuWeight, WeightPart } from "./weights.ts";

/** What a workgroup of matmul.wgsl makes. */
interface Tile {
  /** Rows and columns. */
  readonly bm: number;
  readonly bn: number;
  /** Threads down and across, each with bm/wy rows and bn/wx columns: 4 or 8. */
  readonly wy: number;
  readonly wx: number;
  /** Channels at a time. */
  readonly bk: number;
  /** Fewest workgroups for which the tile is taken: a GPU has tens of cores, each of which wants several. */
  readonly busy: number;
}

/**
 * The first that fits is taken: `bn` at most what the columns fill, and enough workgroups. Larger tiles read x and
 * W less often (a tile reads bm + bn values for bm · bn products), smaller ones keep more cores busy. All fit
 * into 16 kB of workgroup memory and 256 threads, the least that WebGPU grants.
 */
const TILES: readonly Tile[] = [
  { bm: 128, bn: 128, wy: 16, wx: 16, bk: 8, busy: 512 }, // large images: the VAE, 1024² and beyond
  { bm: 64, bn: 64, wy: 8, wx: 8, bk: 16, busy: 128 }, // most of a UNet
  { bm: 32, bn: 32, wy: 8, wx: 8, bk: 16, busy: 0 }, // few rows: the text encoder, 8×8 and 16×16 latents
  { bm: 64, bn: 16, wy: 16, wx: 4, bk: 16, busy: 0 },
  { bm: 128, bn: 8, wy: 32, wx: 2, bk: 16, busy: 0 }, // the last convolutions, to 3, 4 or 8 channels
];

/** The tile of a product of `rows` × `cols`; the last one whatever the columns. */
export function chooseTile(rows: number, cols: number): Tile {
  const fits = ({ bm, bn, busy }: Tile) =>
    cols > bn / 2 && Math.ceil(rows / bm) * Math.ceil(cols / bn) >= busy;
  return TILES.find(fits) ?? TILES[TILES.length - 1];
}

/** Up to here matvec.wgsl reads W at full speed, four rows at a time. */
const FEW_ROWS = 8;
const VECTOR = { wx: 8, wy: 16, rows: 4 } as const;

/** More workgroups than this in one dimension are folded into the next. */
const MAX_GROUPS = 65535;

const activations: Record<Activation, number> = { silu: 1, gelu: 2, quick_gelu: 3 };

/** How the rows of X lie in the pixels of x; see kernels/inline/product.wgsl. */
export interface Geometry {
  readonly height: number;
  readonly width: number;
  readonly outWidth: number;
  readonly step: number;
  readonly top: number;
  readonly left: number;
}

/** `[..., Cin]` → `[..., Cout]`: act(x·W + bias + rowBias) + residual. */
export function linear(rt: GpuRuntime, x: GpuTensor, w: GpuWeight, options: Epilogue = {}): GpuTensor {
  const out = rt.alloc(linearRule(x, w, options));
  const width = imageRows(out);
  product(rt, {
    x,
    w,
    out,
    options,
    geometry: { height: 1, width, outWidth: width, step: 1, top: 0, left: 0 },
  });
  return out;
}

/** Rows of one image; a vector is one row. */
const imageRows = ({ shape }: GpuTensor) => shape.slice(1, -1).reduce((a, n) => a * n, 1);

export interface Product {
  readonly x: GpuTensor;
  readonly w: GpuWeight;
  readonly out: GpuTensor;
  readonly options: Epilogue;
  readonly geometry: Geometry;
}

/** One dispatch per part of the weight. How the work is cut depends on shapes only. */
export function product(rt: GpuRuntime, { x, w, out, options, geometry }: Product): void {
  const { rows } = matrix(out);
  const residual = options.residual as GpuTensor | undefined;
  const rowBias = options.rowBias as GpuTensor | undefined;
  const xAligned = w.cin % 4 === 0 && aligned(x);
  const yAligned = w.cout % 4 === 0 && [out, residual, rowBias].every((y) => !y || aligned(y));
  for (const part of w.parts) {
    const params = [
      rows,
      part.cols,
      w.cin,
      w.kernel,
      geometry.height,
      geometry.width,
      geometry.outWidth,
      imageRows(out),
      geometry.step,
      geometry.top,
      geometry.left,
      x.offset,
      x.stride,
      part.stride,
      options.activation ? activations[options.activation] : 0,
      part.from / 4,
      out.offset + part.from,
      out.stride,
      residual ? 1 : 0,
      residual ? residual.offset + part.from : 0,
      residual?.stride ?? 0,
      rowBias ? 1 : 0,
      rowBias ? rowBias.offset + part.from : 0,
      rowBias?.stride ?? 0,
    ];
    const { kernel, groups } = plan(w, { rows, part, xAligned, yAligned });
    // What is absent is not read, but a binding must be there.
    rt.run(kernel, params, [x, part.buffer, w.bias, residual ?? x, rowBias ?? x, out], groups);
  }
}

interface Layout {
  rows: number;
  part: WeightPart;
  xAligned: boolean;
  yAligned: boolean;
}

function plan(w: GpuWeight, { rows, part, xAligned, yAligned }: Layout) {
  if (rows <= FEW_ROWS && w.kind === "linear") {
    const columns = Math.ceil(part.cols / (4 * VECTOR.wx));
    return { kernel: matvec, groups: [columns, Math.ceil(rows / VECTOR.rows)] as const };
  }
  const tile = chooseTile(rows, part.cols);
  const down = Math.ceil(rows / tile.bm);
  const z = Math.ceil(down / MAX_GROUPS);
  return {
    kernel: matmul(tile, xAligned, yAligned),
    groups: [Math.ceil(part.cols / tile.bn), Math.ceil(down / z), z] as const,
  };
}

const aligned = (x: GpuTensor) => x.offset % 4 === 0 && x.stride % 4 === 0;

const matvec: Kernel = {
  name: "matvec",
  source: matvecSource + productSource + activationSource + xScalar + yScalar,
  constants: { WX: VECTOR.wx, WY: VECTOR.wy },
};

const kernels = new Map<string, Kernel>();

function matmul(tile: Tile, xAligned: boolean, yAligned: boolean): Kernel {
  const { bm, bn, wy, wx, bk } = tile;
  const name = `matmul ${bm}x${bn}${xAligned ? "" : ", x by element"}${yAligned ? "" : ", out by element"}`;
  let kernel = kernels.get(name);
  if (!kernel) {
    const sources = [
      matmulSource,
      productSource,
      activationSource,
      xAligned ? xVector : xScalar,
      yAligned ? yVector : yScalar,
    ];
    const constants = {
      WX: wx,
      WY: wy,
      TALL: bm === 8 * wy ? 1 : 0,
      WIDE: bn === 8 * wx ? 1 : 0,
      BK4: bk / 4,
      BM: bm,
      BN4: bn / 4,
    };
    kernel = { name, source: sources.join("\n"), constants };
    kernels.set(name, kernel);
  }
  return kernel;
}

/** What a product asks of a device: 2·M·N·K operations, and every operand read once and the result written once. */
export function productCost(
  { rows, cols, depth, pixels = rows, channels = depth, residual = false }: {
    rows: number;
    cols: number;
    /** K, k·k·channels of a convolution. */
    depth: number;
    /** Input rows and columns, where they are not M × K. */
    pixels?: number;
    channels?: number;
    residual?: boolean;
  },
  bytesPerElement: 2 | 4,
): { flops: number; bytes: number } {
  const elements = pixels * channels + depth * cols + rows * cols * (residual ? 2 : 1);
  return { flops: 2 * rows * cols * depth, bytes: elements * bytesPerElement };
}
