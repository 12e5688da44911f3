// y = x[:C] · gelu(x[C:]), the exact gelu of inline/activation.wgsl, which the wrapper puts before this.
//
// x [rows, 2C], rows `x_stride` apart; y [rows, C] without gaps. T is four elements side by side, or one where
// widths or offsets are no multiples of four; counts, offsets and strides are in units of T.
// Bindings: 1 x, 2 y. Threads: one per T of y. y is another buffer than x.

struct Params {
  count: u32, // T's in y
  cols: u32, // T's in a row of y
  x_offset: u32,
  x_stride: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read_write> y: array<T>;

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * WG + thread;
  if (i >= p.count) { return; }
  let at = p.x_offset + i / p.cols * p.x_stride + i % p.cols;
  y[i] = T(T32(x[at]) * act(T32(x[at + p.cols]), 2u));
}
