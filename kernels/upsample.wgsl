// Nearest neighbour: y[b, i, j] = x[b, i >> 1, j >> 1].
//
// x [B, H, W, C], pixels `x_stride` apart; y [B, H', W', C] without gaps, H' = 2H or 2H − 1, W' likewise.
// T is four elements side by side, or one where widths or offsets are no multiples of four; counts, offsets and
// strides are in units of T.
// Bindings: 1 x, 2 y. Threads: one per T of y. y is another buffer than x.

struct Params {
  count: u32, // T's in y
  cols: u32, // T's in a pixel
  x_offset: u32,
  x_stride: u32,
  height: u32, // H, pixels
  width: u32, // W
  out_height: u32, // H'
  out_width: u32, // W'
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
  let pixel = i / p.cols;
  let line = pixel / p.out_width;
  let image = line / p.out_height;
  let source = (image * p.height + line % p.out_height / 2) * p.width + pixel % p.out_width / 2;
  y[i] = x[p.x_offset + source * p.x_stride + i % p.cols];
}
