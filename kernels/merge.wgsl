// out[b, k] = mean of the tokens of row k, added in f32 in ascending order: x [B, N, C] → out [B, K, C].
//
// ends [B, K] and members [B, N] of tome_rows.wgsl and tome_members.wgsl. Rows of x lie `stride` elements apart.
//
// One thread per four channels (or one) of a row, numbered through x and y. Overlaps nothing.
// Appended: inline/rows_wide.wgsl or rows_narrow.wgsl.

struct Params {
  tokens: u32, // N
  rows: u32, // K
  channels: u32, // C
  count: u32, // B · K · C
  offset: u32, // of x, in elements
  stride: u32, // of x, in elements
  to: u32, // offset of out, in elements
  out_stride: u32, // in elements
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<S>;
@group(0) @binding(2) var<storage, read> ends: array<u32>;
@group(0) @binding(3) var<storage, read> members: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<S>;

override WORKGROUP = 64u;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = (id.y * groups.x * WORKGROUP + id.x) * WIDTH;
  if (i >= p.count) { return; }
  let row = i / p.channels;
  let c = i - row * p.channels;
  let image = row / p.rows;
  let base = image * p.tokens;
  let end = ends[row];
  var begin = 0u;
  if (row > image * p.rows) { begin = ends[row - 1u]; }
  var sum = V(x[(p.offset + (base + members[base + begin]) * p.stride + c) / WIDTH]);
  for (var m = begin + 1u; m < end; m++) {
    sum += V(x[(p.offset + (base + members[base + m]) * p.stride + c) / WIDTH]);
  }
  // A token by itself stays as it is, bit by bit.
  if (end > begin + 1u) { sum /= f32(end - begin); }
  out[(p.to + row * p.out_stride + c) / WIDTH] = S(sum);
}
