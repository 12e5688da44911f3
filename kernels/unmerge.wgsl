// out[b, n] = y[b, rowOf[b, n]] + residual[b, n], added in f32: y (here x) [B, K, C] → out [B, N, C].
//
// rowOf [B, N]. Rows of x, residual and out lie at strides of their own. Without a residual any readable buffer stands in.
//
// One thread per four channels (or one) of a token, numbered through x and y. Overlaps nothing.
// Appended: inline/rows_wide.wgsl or rows_narrow.wgsl.

struct Params {
  tokens: u32, // N
  rows: u32, // K
  channels: u32, // C
  count: u32, // B · N · C
  offset: u32, // of x, in elements
  stride: u32, // of x, in elements
  to: u32, // offset of out, in elements
  out_stride: u32, // in elements
  add: u32, // 1 with a residual
  residual_offset: u32, // in elements
  residual_stride: u32, // in elements
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<S>;
@group(0) @binding(2) var<storage, read> row_of: array<u32>;
@group(0) @binding(3) var<storage, read> residual: array<S>;
@group(0) @binding(4) var<storage, read_write> out: array<S>;

override WORKGROUP = 64u;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = (id.y * groups.x * WORKGROUP + id.x) * WIDTH;
  if (i >= p.count) { return; }
  let token = i / p.channels;
  let c = i - token * p.channels;
  let row = token / p.tokens * p.rows + row_of[token];
  var v = V(x[(p.offset + row * p.stride + c) / WIDTH]);
  if (p.add != 0u) { v += V(residual[(p.residual_offset + token * p.residual_stride + c) / WIDTH]); }
  out[(p.to + token * p.out_stride + c) / WIDTH] = S(v);
}
