// y = mask · a + (1 − mask) · b.
//
// mask [rows, 1], a and b [rows, C], rows their own stride apart; y [rows, C] without gaps. T is four elements
// side by side, or one where widths, strides or offsets are no multiples of four; counts, offsets and strides are
// in units of T, but for the mask's, which are in elements.
// Bindings: 1 mask, 2 a, 3 b, 4 y. Threads: one per T of y. y is another buffer than all of these.

struct Params {
  count: u32, // T's in y
  cols: u32, // T's in a row
  mask_offset: u32,
  mask_stride: u32,
  a_offset: u32,
  a_stride: u32,
  b_offset: u32,
  b_stride: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> mask: array<F>;
@group(0) @binding(2) var<storage, read> a: array<T>;
@group(0) @binding(3) var<storage, read> b: array<T>;
@group(0) @binding(4) var<storage, read_write> y: array<T>;

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
  let m = f32(mask[p.mask_offset + row * p.mask_stride]);
  let first = T32(a[p.a_offset + row * p.a_stride + col]);
  let second = T32(b[p.b_offset + row * p.b_stride + col]);
  y[i] = T(m * first + (1.0 - m) * second);
}
