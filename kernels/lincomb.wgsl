// y = Σ coefficient[k] · x[k], added in f32 in the order given, for 1 to 6 terms.
//
// Each x [rows, C], rows its own stride apart; y [rows, C] without gaps. The coefficients lie in a buffer, since
// a sampler changes them at every step. T is four elements side by side, or one where widths, strides or offsets
// are no multiples of four; counts, offsets and strides are in units of T.
// Bindings: 1 to 6 the terms (any tensor where there are fewer), 7 coefficients (f32), 8 y. Threads: one per T of
// y. y is another buffer than all of these.

struct Params {
  count: u32, // T's in y
  cols: u32, // T's in a row
  terms: u32, // 1 to 6
  offset0: u32,
  stride0: u32,
  offset1: u32,
  stride1: u32,
  offset2: u32,
  stride2: u32,
  offset3: u32,
  stride3: u32,
  offset4: u32,
  stride4: u32,
  offset5: u32,
  stride5: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x0: array<T>;
@group(0) @binding(2) var<storage, read> x1: array<T>;
@group(0) @binding(3) var<storage, read> x2: array<T>;
@group(0) @binding(4) var<storage, read> x3: array<T>;
@group(0) @binding(5) var<storage, read> x4: array<T>;
@group(0) @binding(6) var<storage, read> x5: array<T>;
@group(0) @binding(7) var<storage, read> coefficients: array<f32>;
@group(0) @binding(8) var<storage, read_write> y: array<T>;

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
  var sum = coefficients[0] * T32(x0[p.offset0 + row * p.stride0 + col]);
  if (p.terms > 1) { sum += coefficients[1] * T32(x1[p.offset1 + row * p.stride1 + col]); }
  if (p.terms > 2) { sum += coefficients[2] * T32(x2[p.offset2 + row * p.stride2 + col]); }
  if (p.terms > 3) { sum += coefficients[3] * T32(x3[p.offset3 + row * p.stride3 + col]); }
  if (p.terms > 4) { sum += coefficients[4] * T32(x4[p.offset4 + row * p.stride4 + col]); }
  if (p.terms > 5) { sum += coefficients[5] * T32(x5[p.offset5 + row * p.stride5 + col]); }
  y[i] = T(sum);
}
