import { madd } from "./inline/madd";
import { gelu_ps, quick_gelu_ps, silu_ps } from "./inline/activation";
import { packPixels } from "./conv";

/**
 * out = act(x·W + bias + rowBias) + residual
 *
 * x [M, K], out and residual [M, N]: rows at any stride. W as panels of 8 columns, [⌈N/8⌉][K][8], padded with
 * zeros; bias padded likewise. rowBias [images, N] belongs to the image of a row. `out` must not overlap the rest.
 *
 * A task is a block of at most 65 rows times a chunk of panels. The block's rows are packed into scratch for one
 * K block at a time, in strips of five: [strip][k][8], the first four rows' elements side by side, then the fifth
 * four times. A strip times a panel is one call of `tile`: rows 0 to 3 are splat by shuffles, row 4 by its load.
 * Deno's V8 guards every load by a compare and branch, which take turns with the multiply-adds on Intel's port 0:
 * four loads for ten multiply-adds reach 95 % of the peak there, and 6×8 with eight loads 79 %. Sums run
 * over ascending k, block by block, so that neither the number of threads nor the place of a row changes a bit.
 *
 * Words: 0 x, 1 x stride, 2 W, 3 bias (never 0), 4 out, 5 out stride, 6 M, 7 K, 8 N,
 * 9 activation (0 none, 1 silu, 2 gelu, 3 quick_gelu), 10 residual or 0, 11 residual stride,
 * 12 rowBias or 0, 13 rowBias stride, 14 rows per image, 15 row blocks, 16 column chunks, 17 K block (≤ 640).
 * Task = chunk · row blocks + block. A convolution has more words: conv.ts.
 */
export function gemmTask(p: usize, task: i32, scratch: usize): void {
  product(p, task, scratch, false);
}

/** Rows of a strip. */
// @ts-ignore: decorator
@inline
export const MR: i32 = 5;
// Scratch: packed rows; one tile at the matrix's edge; one vector; zeros and rows of a convolution.
// @ts-ignore: decorator
@inline
const EDGE: usize = 13 * 640 * 32;
// @ts-ignore: decorator
@inline
const LANES: usize = EDGE + 192;
// @ts-ignore: decorator
@inline
const GATHER: usize = LANES + 64;
/** Bytes of W that stay in the second-level cache while the strips of a block pass over them. */
// @ts-ignore: decorator
@inline
const PANEL_BYTES: i32 = 196608;

export function product(p: usize, task: i32, scratch: usize, conv: bool): void {
  const w = <usize>load<u32>(p, 8);
  const bias = <usize>load<u32>(p, 12);
  const out = <usize>load<u32>(p, 16);
  const outStride = <usize>load<u32>(p, 20) << 2;
  const rows = load<i32>(p, 24);
  const depth = load<i32>(p, 28);
  const cols = load<i32>(p, 32);
  const blocks = load<i32>(p, 60);
  const chunks = load<i32>(p, 64);
  const depthBlock = load<i32>(p, 68);

  const block = task % blocks;
  const chunk = task / blocks;
  const strips = (rows + MR - 1) / MR;
  const strip0 = <i32>(<i64>strips * block / blocks);
  const strip1 = <i32>(<i64>strips * (block + 1) / blocks);
  const panels = (cols + 7) >> 3;
  const panel0 = <i32>(<i64>panels * chunk / chunks);
  const panel1 = <i32>(<i64>panels * (chunk + 1) / chunks);
  const group = max(1, PANEL_BYTES / (depthBlock << 5));

  if (conv) memory.fill(scratch + GATHER, 0, 640 * 4);
  for (let k0 = 0; k0 < depth; k0 += depthBlock) {
    const k1 = min(depth, k0 + depthBlock);
    const stripBytes = <usize>(k1 - k0) << 5;
    let packed = scratch;
    for (let strip = strip0; strip < strip1; ++strip) {
      if (conv) packPixels(p, strip * MR, k0, k1, packed, scratch + GATHER);
      else packRows(p, strip * MR, k0, k1, packed);
      packed += stripBytes;
    }
    for (let g0 = panel0; g0 < panel1; g0 += group) {
      const g1 = min(panel1, g0 + group);
      packed = scratch;
      for (let strip = strip0; strip < strip1; ++strip) {
        const row = strip * MR;
        const c = out + <usize>row * outStride;
        const height = min(MR, rows - row);
        for (let panel = g0; panel < g1; ++panel) {
          const b = w + (<usize>(panel * depth + k0) << 5);
          const at = c + (<usize>panel << 5);
          const width = min(8, cols - (panel << 3));
          if (height == MR && width == 8) {
            if (k0 == 0) tile(packed, packed + stripBytes, b, at, outStride, bias + (<usize>panel << 5), 0);
            else tile(packed, packed + stripBytes, b, at, outStride, at, outStride);
          } else {
            const edge = scratch + EDGE;
            if (k0 != 0) copyRect(edge, 32, at, outStride, height, width);
            if (k0 == 0) tile(packed, packed + stripBytes, b, edge, 32, bias + (<usize>panel << 5), 0);
            else tile(packed, packed + stripBytes, b, edge, 32, edge, 32);
            copyRect(at, outStride, edge, 32, height, width);
          }
        }
        if (k1 == depth) {
          for (let r = 0; r < height; ++r) {
            finish(p, row + r, g0 << 3, min(cols, g1 << 3) - (g0 << 3), scratch + LANES);
          }
        }
        packed += stripBytes;
      }
    }
  }
}

function copyRect(to: usize, toStride: usize, from: usize, fromStride: usize, height: i32, width: i32): void {
  for (let r = 0; r < height; ++r) {
    for (let j: usize = 0; j < <usize>width << 2; j += 4) store<f32>(to + j, load<f32>(from + j));
    to += toStride;
    from += fromStride;
  }
}

/** Rows row..row+4 of x, k0..k1−1; rows past the last one repeat it. */
function packRows(p: usize, row: i32, k0: i32, k1: i32, to: usize): void {
  const x = <usize>load<u32>(p) + (<usize>k0 << 2);
  const stride = <usize>load<u32>(p, 4) << 2;
  const last = load<i32>(p, 24) - 1;
  packFive(
    x + <usize>min(row, last) * stride,
    x + <usize>min(row + 1, last) * stride,
    x + <usize>min(row + 2, last) * stride,
    x + <usize>min(row + 3, last) * stride,
    x + <usize>min(row + 4, last) * stride,
    k1 - k0,
    to,
  );
}

/** n elements of five rows as [n][8]. */
export function packFive(r0: usize, r1: usize, r2: usize, r3: usize, r4: usize, n: i32, to: usize): void {
  const end = r0 + (<usize>(n & ~3) << 2);
  while (r0 < end) {
    const v0 = v128.load(r0), v1 = v128.load(r1), v2 = v128.load(r2), v3 = v128.load(r3), v4 = v128.load(r4);
    let low = v128.shuffle<f32>(v0, v1, 0, 4, 1, 5), high = v128.shuffle<f32>(v2, v3, 0, 4, 1, 5);
    v128.store(to, v128.shuffle<f32>(low, high, 0, 1, 4, 5));
    v128.store(to, v128.shuffle<f32>(v4, v4, 0, 0, 0, 0), 16);
    v128.store(to, v128.shuffle<f32>(low, high, 2, 3, 6, 7), 32);
    v128.store(to, v128.shuffle<f32>(v4, v4, 1, 1, 1, 1), 48);
    low = v128.shuffle<f32>(v0, v1, 2, 6, 3, 7), high = v128.shuffle<f32>(v2, v3, 2, 6, 3, 7);
    v128.store(to, v128.shuffle<f32>(low, high, 0, 1, 4, 5), 64);
    v128.store(to, v128.shuffle<f32>(v4, v4, 2, 2, 2, 2), 80);
    v128.store(to, v128.shuffle<f32>(low, high, 2, 3, 6, 7), 96);
    v128.store(to, v128.shuffle<f32>(v4, v4, 3, 3, 3, 3), 112);
    r0 += 16, r1 += 16, r2 += 16, r3 += 16, r4 += 16, to += 128;
  }
  for (let i = n & 3; i > 0; --i) {
    store<f32>(to, load<f32>(r0));
    store<f32>(to, load<f32>(r1), 4);
    store<f32>(to, load<f32>(r2), 8);
    store<f32>(to, load<f32>(r3), 12);
    v128.store(to, v128.load32_splat(r4), 16);
    r0 += 4, r1 += 4, r2 += 4, r3 += 4, r4 += 4, to += 32;
  }
}

/**
 * c [5, 8] = init + A·B: A is a packed strip (a..aEnd), B a panel. Strides in bytes; an init stride of 0 is the
 * bias, init = c adds to what is there. Not unrolled: two steps at once lose a fifth of the speed in V8.
 */
function tile(a: usize, aEnd: usize, b: usize, c: usize, stride: usize, init: usize, initStride: usize): void {
  let c00 = v128.load(init), c01 = v128.load(init, 16);
  init += initStride;
  let c10 = v128.load(init), c11 = v128.load(init, 16);
  init += initStride;
  let c20 = v128.load(init), c21 = v128.load(init, 16);
  init += initStride;
  let c30 = v128.load(init), c31 = v128.load(init, 16);
  init += initStride;
  let c40 = v128.load(init), c41 = v128.load(init, 16);
  do {
    const b0 = v128.load(b), b1 = v128.load(b, 16);
    const four = v128.load(a);
    let s = v128.shuffle<f32>(four, four, 0, 0, 0, 0);
    c00 = madd(s, b0, c00), c01 = madd(s, b1, c01);
    s = v128.shuffle<f32>(four, four, 1, 1, 1, 1);
    c10 = madd(s, b0, c10), c11 = madd(s, b1, c11);
    s = v128.shuffle<f32>(four, four, 2, 2, 2, 2);
    c20 = madd(s, b0, c20), c21 = madd(s, b1, c21);
    s = v128.shuffle<f32>(four, four, 3, 3, 3, 3);
    c30 = madd(s, b0, c30), c31 = madd(s, b1, c31);
    s = v128.load(a, 16);
    c40 = madd(s, b0, c40), c41 = madd(s, b1, c41);
    a += 32;
    b += 32;
  } while (a != aEnd);
  v128.store(c, c00), v128.store(c, c01, 16);
  c += stride;
  v128.store(c, c10), v128.store(c, c11, 16);
  c += stride;
  v128.store(c, c20), v128.store(c, c21, 16);
  c += stride;
  v128.store(c, c30), v128.store(c, c31, 16);
  c += stride;
  v128.store(c, c40), v128.store(c, c41, 16);
}

/** The rest of the epilogue, for columns col..col+n−1 of a row whose sums and bias stand in `out`. */
function finish(p: usize, row: i32, col: i32, n: i32, lanes: usize): void {
  const activation = load<i32>(p, 36);
  const residual = <usize>load<u32>(p, 40);
  const rowBias = <usize>load<u32>(p, 48);
  const offset = <usize>col << 2;
  const c = <usize>load<u32>(p, 16) + <usize>row * (<usize>load<u32>(p, 20) << 2) + offset;
  if (rowBias != 0) {
    const image = row / load<i32>(p, 56);
    addTo(c, rowBias + <usize>image * (<usize>load<u32>(p, 52) << 2) + offset, n);
  }
  if (activation == 1) {
    for (let i: usize = 0, end = <usize>(n >> 2) << 4; i < end; i += 16) v128.store(c + i, silu_ps(v128.load(c + i)));
  } else if (activation == 2) {
    for (let i: usize = 0, end = <usize>(n >> 2) << 4; i < end; i += 16) v128.store(c + i, gelu_ps(v128.load(c + i)));
  } else if (activation == 3) {
    for (let i: usize = 0, end = <usize>(n >> 2) << 4; i < end; i += 16) {
      v128.store(c + i, quick_gelu_ps(v128.load(c + i)));
    }
  }
  if (activation != 0 && (n & 3) != 0) {
    const tail = c + (<usize>(n >> 2) << 4);
    copyRect(lanes, 0, tail, 0, 1, n & 3);
    const v = v128.load(lanes);
    v128.store(lanes, activation == 1 ? silu_ps(v) : activation == 2 ? gelu_ps(v) : quick_gelu_ps(v));
    copyRect(tail, 0, lanes, 0, 1, n & 3);
  }
  if (residual != 0) addTo(c, residual + <usize>row * (<usize>load<u32>(p, 44) << 2) + offset, n);
}

function addTo(c: usize, x: usize, n: i32): void {
  const end = c + (<usize>(n >> 2) << 4);
  while (c < end) {
    v128.store(c, f32x4.add(v128.load(c), v128.load(x)));
    c += 16;
    x += 16;
  }
  for (let i = n & 3; i > 0; --i) {
    store<f32>(c, load<f32>(c) + load<f32>(x));
    c += 4;
    x += 4;
  }
}

/**
 * Half to single precision, every value exactly (subnormals, infinities and NaN included).
 *
 * Words: 0 from (u16), 1 to (f32), 2 count (a multiple of 8). Task: 32768 values. No overlap.
 */
export function widenTask(p: usize, task: i32, scratch: usize): void {
  const first = task << 15;
  const n = min(32768, load<i32>(p, 8) - first);
  let from = <usize>load<u32>(p) + (<usize>first << 1);
  let to = <usize>load<u32>(p, 4) + (<usize>first << 2);
  const end = from + (<usize>n << 1);
  // From memory: V8 rebuilds an inlined constant at every use, which took longer than all the rest.
  const mask = v128.load32_splat(WIDEN), smallest = v128.load32_splat(WIDEN, 4), bias = v128.load32_splat(WIDEN, 8);
  const infinite = v128.load32_splat(WIDEN, 12), normal = v128.load32_splat(WIDEN, 16);
  const sign = v128.load32_splat(WIDEN, 20);
  while (from < end) {
    const h = v128.load(from);
    v128.store(to, widen4(i32x4.extend_low_i16x8_s(h), mask, smallest, bias, infinite, normal, sign));
    v128.store(to, widen4(i32x4.extend_high_i16x8_s(h), mask, smallest, bias, infinite, normal, sign), 16);
    from += 16;
    to += 32;
  }
}

const WIDEN: usize = memory.data<u32>([0x0fffe000, 0x38800000, 0x38000000, 0x0f800000, 0x00800000, 0x80000000], 16);

// @ts-ignore: decorator
@inline
function widen4(
  h: v128, mask: v128, smallest: v128, bias: v128, infinite: v128, normal: v128, sign: v128,
): v128 {
  const bits = v128.and(i32x4.shl(h, 13), mask);
  // 2⁻¹⁴ · (1 + m) − 2⁻¹⁴ is m · 2⁻¹⁴: no subnormal operand, which Intel's cores take 150 cycles for.
  const subnormal = f32x4.sub(i32x4.add(bits, smallest), smallest);
  const value = i32x4.add(i32x4.add(bits, bias), v128.and(i32x4.ge_s(bits, infinite), bias));
  return v128.or(v128.and(h, sign), v128.bitselect(subnormal, value, i32x4.gt_s(normal, bits)));
}

/**
 * What the SIMD unit can do: 12 chains of multiply-add on values loaded at run time, 12 · 8 · rounds operations.
 *
 * Words: 0 values ([2][4] f32 in, [4] f32 out per task after them), 1 rounds.
 */
export function peakTask(p: usize, task: i32, scratch: usize): void {
  const at = <usize>load<u32>(p);
  const a = v128.load(at), b = v128.load(at, 16);
  let c0 = a, c1 = b, c2 = f32x4.add(a, b), c3 = f32x4.sub(a, b), c4 = f32x4.mul(a, b), c5 = f32x4.neg(a);
  let c6 = f32x4.neg(b), c7 = f32x4.neg(c2), c8 = f32x4.neg(c3), c9 = f32x4.neg(c4), ca = f32x4.add(c4, a);
  let cb = f32x4.add(c4, b);
  for (let i = load<i32>(p, 4); i > 0; --i) {
    c0 = madd(c0, a, b), c1 = madd(c1, a, b), c2 = madd(c2, a, b), c3 = madd(c3, a, b);
    c4 = madd(c4, a, b), c5 = madd(c5, a, b), c6 = madd(c6, a, b), c7 = madd(c7, a, b);
    c8 = madd(c8, a, b), c9 = madd(c9, a, b), ca = madd(ca, a, b), cb = madd(cb, a, b);
  }
  c0 = f32x4.add(f32x4.add(c0, c1), f32x4.add(c2, c3));
  c4 = f32x4.add(f32x4.add(c4, c5), f32x4.add(c6, c7));
  c8 = f32x4.add(f32x4.add(c8, c9), f32x4.add(ca, cb));
  v128.store(at + 32 + (<usize>task << 4), f32x4.add(f32x4.add(c0, c4), c8));
}
