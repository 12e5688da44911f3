// y = x · scale + shift, then silu if asked: the second half of group norm. The activations of
// inline/activation.wgsl are put before this by the wrapper.
//
// x [B, N, C], rows `x_stride` apart; scale and shift [B, 2C], rows `s_stride` apart, followed
// by what rounding to F lost of each, if `refined`; y [B, N, C] without gaps.
// T is four elements side by side, or one where widths, strides or offsets are no multiples of four; counts,
// offsets and strides are in units of T.
// Bindings: 1 x, 2 scale and shift, 3 y. Threads: one per T of y. y is another buffer than the others.

struct Params {
  count: u32, // T's in y
  cols: u32, // T's in a row
  rows: u32, // N, rows of an image
  x_offset: u32,
  x_stride: u32,
  s_offset: u32,
  s_stride: u32,
  kind: u32, // 0 none, 1 silu
  refined: u32, // 0 or 1
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read> s: array<T>;
@group(0) @binding(3) var<storage, read_write> y: array<T>;

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * WG + thread;
  if (i >= p.count) { return; }
  let row = i / p.cols;
  let col = i % p.cols;
  let factors = p.s_offset + row / p.rows * p.s_stride + col;
  var scale = T32(s[factors]);
  var shift = T32(s[factors + p.cols]);
  if (p.refined == 1) {
    scale += T32(s[factors + 2 * p.cols]);
    shift += T32(s[factors + 3 * p.cols]);
  }
  y[i] = T(act(T32(x[p.x_offset + row * p.x_stride + col]) * scale + shift, p.kind));
}
