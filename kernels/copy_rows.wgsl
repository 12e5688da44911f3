// Copies rows: target[r, c] = source[r, c]. Behind concat, stack and write.
//
// Both [rows, C], rows their own stride apart; what lies between the rows of the target stays as it is.
// T is four elements side by side, or one where widths, strides or offsets are no multiples of four; counts,
// offsets and strides are in units of T.
// Bindings: 1 source, 2 target. Threads: one per T. The target is another buffer than the source.

struct Params {
  count: u32, // T's to copy
  cols: u32, // T's in a row
  source_offset: u32,
  source_stride: u32,
  target_offset: u32,
  target_stride: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> source: array<T>;
@group(0) @binding(2) var<storage, read_write> copy: array<T>;

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
  copy[p.target_offset + row * p.target_stride + col] = source[p.source_offset + row * p.source_stride + col];
}
