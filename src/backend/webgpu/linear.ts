/** Matrix products on the GPU, and what convolutions share with them: the dispatches around kernels/matmul.wgsl. */
import activationSource from "../../../kernels/inline/activation.wgsl" with { type: "text" };
import finishSource from "../../../kernels/inline/finish.wgsl" with { type: "text" };
import finishSliceSource from "../../../kernels/inline/finish_slice.wgsl" with { type: "text" };
import productSource from "../../../kernels/inline/product.wgsl" with { type: "text" };
import xScalar from "../../../kernels/inline/x_scalar.wgsl" with { type: "text" };
import xVector from "../../../kernels/inline/x_vector.wgsl" with { type: "text" };
import yScalar from "../../../kernels/inline/y_scalar.wgsl" with { type: "text" };
import yVector from "../../../kernels/inline/y_vector.wgsl" with { type: "text" };
import matmulSource from "../../../kernels/matmul.wgsl" with { type: "text" };
import matmulSumSource from "../../../kernels/matmul_sum.wgsl" with { type: "text" };
import matvecSource from "../../../kernels/matvec.wgsl" with { type: "text" };
import type { Activation, Epilogue } from "../backend.ts";
import { linearRule } from "../shape_rules.ts";
import { foldGroups, type GpuRuntime, type GpuTensor, type Kernel, matrix } from "./runtime.ts";
import type { GpuWeight } from "./weights.ts";

/** What a workgroup of matmul.wgsl makes. */
export interface Tile {
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
 * The first that fits is taken: more columns than half of `bn`, and enough workgroups. Larger tiles read x and W
 * less often (a tile reads bm + bn values for bm · bn products), smaller ones keep more cores busy. All fit into
 * 16 kB of workgroup memory and 256 threads, the least that WebGPU grants.
 */
export const TILES: readonly Tile[] = [
  { bm: 128, bn: 128, wy: 16, wx: 16, bk: 8, busy: 512 }, // large images: the VAE, 1024² and beyond
  { bm: 64, bn: 64, wy: 8, wx: 8, bk: 16, busy: 96 }, // most of a UNet
  { bm: 32, bn: 32, wy: 8, wx: 8, bk: 16, busy: 0 }, // few rows: the text encoder, small latents
  { bm: 64, bn: 16, wy: 16, wx: 4, bk: 16, busy: 0 },
  { bm: 128, bn: 8, wy: 32, wx: 2, bk: 16, busy: 0 }, // the last convolutions, to 3, 4 or 8 channels
];

/**
 * K is cut into slices where an image's product is smaller than this (128 tiles of 64 × 64) and would leave most of
 * a GPU idle; none is shorter than 256 channels, and there are at most 16: what they sum is written and read once
 * more.
 */
const BUSY_VALUES = 2 ** 19, SLICE = 256, MAX_SLICES = 16;

/** How a product is cut. By its shape only, slices by that of one image: a batch has the bits of its images. */
export interface Cut {
  readonly tile: Tile;
  readonly columnTiles: number;
  readonly rowTiles: number;
  readonly slices: number;
  /** Blocks of `tile.bk` channels of a slice. */
  readonly sliceBlocks: number;
}

/** Of a product of `rows` × `cols` over `taps` times `channels`; from `tiles` in tests. */
export function cutProduct(
  { rows, imageRows, cols, channels, taps }: {
    rows: number;
    imageRows: number;
    cols: number;
    channels: number;
    taps: number;
  },
  tiles: readonly Tile[] = TILES,
): Cut {
  const wanted = Math.min(
    Math.floor(BUSY_VALUES / (imageRows * cols)),
    Math.floor(taps * channels / SLICE),
    MAX_SLICES,
  );
  const cut = (tile: Tile): Cut => {
    const blocks = taps * Math.ceil(channels / tile.bk);
    const sliceBlocks = Math.ceil(blocks / Math.max(1, wanted));
    const slices = Math.ceil(blocks / sliceBlocks);
    return {
      tile,
      columnTiles: Math.ceil(cols / tile.bn),
      rowTiles: Math.ceil(rows / tile.bm),
      slices,
      sliceBlocks,
    };
  };
  // Slices of one product must end at the same channels whatever the tile: all that are taken for them have one bk.
  const fits = ({ tile, columnTiles, rowTiles, slices }: Cut) =>
    cols > tile.bn / 2 && columnTiles * rowTiles * slices >= tile.busy && (slices === 1 || tile.bk === 16);
  const cuts = tiles.map(cut);
  return cuts.find(fits) ?? cuts[cuts.length - 1];
}

/** matvec.wgsl makes the products of matrices with one row per image, up to so many; it takes four at a time. */
const MAX_VECTORS = 32;
const VECTOR = { wx: 8, wy: 16, rows: 4 } as const;

/** A dispatch has at most so many tiles of rows, WebGPU's limit, … */
const MAX_GROUPS = 65535;
/** … and multiply-adds (unless one row of tiles has more): 0.2 s at 0.1 TFLOP/s. Drivers reset devices after 2 s. */
const MAX_WORK = 2 ** 33;

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

/** One dispatch per part of the weight, another where K is cut into slices, and more where one would be long. */
export function product(
  rt: GpuRuntime,
  { x, w, out, options, geometry }: Product,
  { maxWork = MAX_WORK, tiles = TILES }: { maxWork?: number; tiles?: readonly Tile[] } = {},
): void {
  const { rows } = matrix(out), image = imageRows(out), { wholeRows = image } = options;
  const residual = options.residual as GpuTensor | undefined;
  const rowBias = options.rowBias as GpuTensor | undefined;
  const xAligned = w.cin % 4 === 0 && aligned(x);
  const yAligned = w.cout % 4 === 0 && [out, residual, rowBias].every((y) => !y || aligned(y));
  for (const part of w.parts) {
    const { cols, from, stride } = part;
    const size = { rows, imageRows: wholeRows, cols, channels: w.cin, taps: w.kernel * w.kernel };
    const cut = cutProduct(size, tiles);
    const { columnTiles, rowTiles, slices, sliceBlocks } = cut;
    const params = [
      rows,
      cols,
      w.cin,
      w.kernel,
      geometry.height,
      geometry.width,
      geometry.outWidth,
      image,
      geometry.step,
      geometry.top,
      geometry.left,
      x.offset,
      x.stride,
      stride,
      options.activation ? activations[options.activation] : 0,
      from / 4,
      out.offset + from,
      out.stride,
      residual ? 1 : 0,
      residual ? residual.offset + from : 0,
      residual?.stride ?? 0,
      rowBias ? 1 : 0,
      rowBias ? rowBias.offset + from : 0,
      rowBias?.stride ?? 0,
      slices,
      sliceBlocks,
      columnTiles,
    ];
    // What is absent is not read, but a binding must be there.
    const epilogue = [w.bias, residual ?? x, rowBias ?? x, out];
    if (wholeRows === 1 && rows <= MAX_VECTORS && w.kind === "linear") {
      const groups = [Math.ceil(cols / (4 * VECTOR.wx)), Math.ceil(rows / VECTOR.rows)] as const;
      rt.run(matvec, [...params, 0], [x, part.buffer, ...epilogue], groups, rows * cols * w.depth);
      continue;
    }
    const sums = slices > 1 ? rt.allocBytes(slices * rows * stride * 16) : undefined;
    const kernel = matmul(cut.tile, xAligned, sums ? "slices" : yAligned ? "vector" : "scalar");
    const buffers = sums ? [x, part.buffer, sums] : [x, part.buffer, ...epilogue];
    const { bm } = cut.tile;
    const step = Math.max(1, Math.min(MAX_GROUPS, Math.floor(maxWork / (bm * cols * w.depth))));
    for (let tile = 0; tile < rowTiles; tile += step) {
      const tiles = Math.min(step, rowTiles - tile);
      rt.run(
        kernel,
        [...params, tile * bm],
        buffers,
        [columnTiles * slices, tiles],
        tiles * bm * cols * w.depth,
      );
    }
    if (sums) {
      const groups = foldGroups(Math.ceil(rows * stride / SUM_THREADS));
      rt.run(
        yAligned ? sumVectors : sumScalars,
        [...params, 0],
        [sums, ...epilogue],
        groups,
        slices * rows * cols,
      );
      rt.release(sums);
    }
  }
}

const aligned = (x: GpuTensor) => x.offset % 4 === 0 && x.stride % 4 === 0;

/** The kernel's own file first, so that errors name its lines. */
const joined = (...sources: string[]) => sources.join("\n");

const finishVectors = joined(finishSource, activationSource, yVector);
const finishScalars = joined(finishSource, activationSource, yScalar);

const matvec: Kernel = {
  name: "matvec",
  source: joined(matvecSource, productSource, xScalar, finishScalars),
  constants: { WX: VECTOR.wx, WY: VECTOR.wy },
};

const SUM_THREADS = 64;
const sumVectors: Kernel = {
  name: "matmul_sum",
  source: joined(matmulSumSource, productSource, finishVectors),
  constants: { THREADS: SUM_THREADS },
};
const sumScalars: Kernel = {
  name: "matmul_sum_y1",
  source: joined(matmulSumSource, productSource, finishScalars),
  constants: { THREADS: SUM_THREADS },
};

/** How matmul.wgsl ends. */
const ENDS = {
  vector: { suffix: "", source: finishVectors },
  scalar: { suffix: "_y1", source: finishScalars },
  slices: { suffix: "_slices", source: finishSliceSource },
} as const;

const kernels = new Map<string, Kernel>();

function matmul({ bm, bn, wy, wx, bk }: Tile, xAligned: boolean, end: keyof typeof ENDS): Kernel {
  const key = `${bm}x${bn} ${xAligned} ${end}`;
  let kernel = kernels.get(key);
  if (!kernel) {
    const { suffix, source } = ENDS[end];
    kernel = {
      name: `matmul${xAligned ? "" : "_x1"}${suffix}`,
      source: joined(matmulSource, productSource, xAligned ? xVector : xScalar, source),
      constants: {
        WX: wx,
        WY: wy,
        TALL: bm === 8 * wy ? 1 : 0,
        WIDE: bn === 8 * wx ? 1 : 0,
        BK4: bk / 4,
        BM: bm,
        BN4: bn / 4,
      },
    };
    kernels.set(key, kernel);
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
