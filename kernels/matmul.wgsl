// out = act(X·W + bias + rowBias) + residual
//
// X is a matrix [M, C] or, for a convolution, the pixels under a k×k filter, never stored: row m of X is an output
// pixel, and its columns are k² taps (ky, kx) of C input channels each. A matrix is the case k = 1 of images one
// pixel high. x [images·height·width, C] and out, residual [M, N]: rows at any stride; rowBias [images, N].
//
// W [k²·C, w_stride·4] row-major, N padded to whole vectors, bias f32 likewise; after the last row of W follow at
// least BK rows and one tile of columns of anything finite: W is read without tests. Sums in f32, over taps and
// channels in ascending order, so that the same shapes give the same bits.
//
// A workgroup of WX × WY threads makes a tile of BM rows × BN columns; a thread makes 4 or 8 (TALL) rows × 4 or 8
// (WIDE) columns of it. BK channels at a time of X and W lie in workgroup memory, as f32: converted once, not once
// per thread. Rows of tile_x are one vector longer than BK, and a thread's rows lie WY apart: no bank conflicts.
// The first loop of the kernel turns the tile's rows into pixels, so that the others have no division.
//
// x is read as vectors (x_vector.wgsl: C, offset and stride multiples of 4) or element by element (x_scalar.wgsl);
// out, residual and rowBias likewise (y_vector.wgsl: N, offsets and strides; y_scalar.wgsl); TypeScript joins those
// files with this one, product.wgsl (Params) and finish.wgsl. Nothing outside [0, C) of a row of x, nor beyond N or M
// of the others, is read or written. out must be a buffer of its own; residual may be x.
//
// Where the tiles are too few to keep a GPU busy and K is long, the blocks of K are shared among `slices` workgroups:
// finish_slice.wgsl stores what each one sums, and matmul_sum.wgsl adds the slices in ascending order.
//
// Bindings: 0 Params, 1 x, 2 W, then 3 bias, 4 residual, 5 rowBias, 6 out (what is absent is any buffer), or 3 the
// slices. Workgroups: x column tiles · slices, y row tiles from first_row on (a large product takes several dispatches,
// so that none is long).

override WX: u32 = 8u;
override WY: u32 = 8u;
override TALL: bool = true;
override WIDE: bool = true;
// Vectors of channels at a time: BK/4.
override BK4: u32 = 4u;
// BM = WY·(TALL ? 8 : 4) rows, BN4 = WX·(WIDE ? 2 : 1) vectors of columns.
override BM: u32 = 64u;
override BN4: u32 = 16u;

const EPILOGUE = 3;

@group(0) @binding(2) var<storage, read> w: array<F4>;

var<workgroup> tile_x: array<vec4f, BM * (BK4 + 1u)>;
var<workgroup> tile_w: array<vec4f, BK4 * 4u * BN4>;
// Of each row of the tile: y and x of its first tap, and its place among all pixels; y is far outside beyond M.
var<workgroup> pixels: array<vec3i, BM>;

const OUTSIDE = -1073741824;

// sum + a·B, where B has four rows.
fn madd(sum: vec4f, a: vec4f, b0: vec4f, b1: vec4f, b2: vec4f, b3: vec4f) -> vec4f {
  return fma(vec4f(a.w), b3, fma(vec4f(a.z), b2, fma(vec4f(a.y), b1, fma(vec4f(a.x), b0, sum))));
}

@compute @workgroup_size(WX, WY)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let threads = WX * WY;
  let m0 = p.first_row + group.y * BM;
  let part = group.x / p.column_tiles; // not `slice`: a barrier's conditions must be seen to be uniform
  let n4 = (group.x - part * p.column_tiles) * BN4;
  slice = part;

  for (var r = thread; r < BM; r += threads) {
    let m = m0 + r;
    let image = m / p.image_rows;
    let at = m - image * p.image_rows;
    let row = at / p.out_width;
    let y = i32(row) * p.step - p.top;
    let x = i32(at - row * p.out_width) * p.step - p.left;
    let place = i32(image) * p.height * p.width + y * p.width + x;
    pixels[r] = vec3i(select(OUTSIDE, y, m < p.rows), x, place);
  }
  workgroupBarrier();

  var s00 = vec4f(); var s01 = vec4f();
  var s10 = vec4f(); var s11 = vec4f();
  var s20 = vec4f(); var s21 = vec4f();
  var s30 = vec4f(); var s31 = vec4f();
  var s40 = vec4f(); var s41 = vec4f();
  var s50 = vec4f(); var s51 = vec4f();
  var s60 = vec4f(); var s61 = vec4f();
  var s70 = vec4f(); var s71 = vec4f();

  let pitch = BK4 + 1u;
  let blocks = (p.channels + 4u * BK4 - 1u) / (4u * BK4);
  let end = min((part + 1u) * p.slice_blocks, p.side * p.side * blocks);
  for (var block = part * p.slice_blocks; block < end; block++) {
    let tap = block / blocks;
    let c0 = (block - tap * blocks) * 4u * BK4;
    let ky = i32(tap / p.side);
    let kx = i32(tap % p.side);
    let ahead = ky * p.width + kx;
    for (var i = thread; i < BM * BK4; i += threads) {
      let r = i / BK4;
      let q = i % BK4;
      let c = c0 + 4u * q;
      let pixel = pixels[r];
      let y = pixel.x + ky;
      let x = pixel.y + kx;
      var v = vec4f();
      if (c < p.channels && y >= 0 && y < p.height && x >= 0 && x < p.width) {
        v = x_at(p.x_offset + u32(pixel.z + ahead) * p.x_stride + c, p.channels - c);
      }
      tile_x[r * pitch + q] = v;
    }
    for (var i = thread; i < 4u * BK4 * BN4; i += threads) {
      tile_w[i] = vec4f(w[(tap * p.channels + c0 + i / BN4) * p.w_stride + n4 + i % BN4]);
    }
    workgroupBarrier();

    for (var q = 0u; q < BK4; q++) {
      let at_w = 4u * q * BN4 + local.x;
      let b0 = tile_w[at_w];
      let b1 = tile_w[at_w + BN4];
      let b2 = tile_w[at_w + 2u * BN4];
      let b3 = tile_w[at_w + 3u * BN4];
      var d0 = vec4f();
      var d1 = vec4f();
      var d2 = vec4f();
      var d3 = vec4f();
      if (WIDE) {
        d0 = tile_w[at_w + WX];
        d1 = tile_w[at_w + WX + BN4];
        d2 = tile_w[at_w + WX + 2u * BN4];
        d3 = tile_w[at_w + WX + 3u * BN4];
      }
      let at_x = local.y * pitch + q;
      let down = WY * pitch;
      let a0 = tile_x[at_x];
      let a1 = tile_x[at_x + down];
      let a2 = tile_x[at_x + 2u * down];
      let a3 = tile_x[at_x + 3u * down];
      s00 = madd(s00, a0, b0, b1, b2, b3);
      s10 = madd(s10, a1, b0, b1, b2, b3);
      s20 = madd(s20, a2, b0, b1, b2, b3);
      s30 = madd(s30, a3, b0, b1, b2, b3);
      if (WIDE) {
        s01 = madd(s01, a0, d0, d1, d2, d3);
        s11 = madd(s11, a1, d0, d1, d2, d3);
        s21 = madd(s21, a2, d0, d1, d2, d3);
        s31 = madd(s31, a3, d0, d1, d2, d3);
      }
      if (TALL) {
        let a4 = tile_x[at_x + 4u * down];
        let a5 = tile_x[at_x + 5u * down];
        let a6 = tile_x[at_x + 6u * down];
        let a7 = tile_x[at_x + 7u * down];
        s40 = madd(s40, a4, b0, b1, b2, b3);
        s50 = madd(s50, a5, b0, b1, b2, b3);
        s60 = madd(s60, a6, b0, b1, b2, b3);
        s70 = madd(s70, a7, b0, b1, b2, b3);
        if (WIDE) {
          s41 = madd(s41, a4, d0, d1, d2, d3);
          s51 = madd(s51, a5, d0, d1, d2, d3);
          s61 = madd(s61, a6, d0, d1, d2, d3);
          s71 = madd(s71, a7, d0, d1, d2, d3);
        }
      }
    }
    workgroupBarrier();
  }

  let m = m0 + local.y;
  let n = 4u * (n4 + local.x);
  finish(m, n, s00);
  finish(m + WY, n, s10);
  finish(m + 2u * WY, n, s20);
  finish(m + 3u * WY, n, s30);
  if (TALL) {
    finish(m + 4u * WY, n, s40);
    finish(m + 5u * WY, n, s50);
    finish(m + 6u * WY, n, s60);
    finish(m + 7u * WY, n, s70);
  }
  if (WIDE) {
    let far = n + 4u * WX;
    finish(m, far, s01);
    finish(m + WY, far, s11);
    finish(m + 2u * WY, far, s21);
    finish(m + 3u * WY, far, s31);
    if (TALL) {
      finish(m + 4u * WY, far, s41);
      finish(m + 5u * WY, far, s51);
      finish(m + 6u * WY, far, s61);
      finish(m + 7u * WY, far, s71);
    }
  }
}
