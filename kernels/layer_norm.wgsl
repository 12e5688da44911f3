// y = (x − mean) / √(var + eps) · γ + β over the last dimension.
//
// x [rows, C], rows `x_stride` apart; γ and β [C], f32; y [rows, C] without gaps. T is four channels side by
// side, or one where widths, strides or offsets are no multiples of four; `cols`, offsets and strides are in units
// of T.
// Bindings: 1 x, 2 γ, 3 β, 4 y. Workgroups: one per row. y is another buffer than x. Appended:
// inline/reduce_workgroup.wgsl or reduce_subgroup.wgsl.
//
// The mean is taken as a distance from the row's first value; deviations are taken from it, and their own mean
// corrects mean and variance, so that a mean far above the deviation costs nothing. A row is read three times,
// from the cache.

struct Params {
  rows: u32,
  cols: u32,
  x_offset: u32,
  x_stride: u32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read> gamma: array<T32>;
@group(0) @binding(3) var<storage, read> beta: array<T32>;
@group(0) @binding(4) var<storage, read_write> y: array<T>;

override WG: u32 = 64; // a power of two, at most 64

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.y * groups.x + group.x;
  if (row >= p.rows) { return; }
  let start = p.x_offset + row * p.x_stride;
  let count = f32(p.cols * V);
  let near = lane_of(T32(x[start]), 0u);

  var sum = T32();
  for (var c = thread; c < p.cols; c += WG) { sum += T32(x[start + c]) - near; }
  let mean = near + sum_over_threads(vec2f(total_of(sum), 0.0), thread).x / count;

  var rest = T32();
  var squares = T32();
  for (var c = thread; c < p.cols; c += WG) {
    let d = T32(x[start + c]) - mean;
    rest += d;
    squares += d * d;
  }
  let moments = sum_over_threads(vec2f(total_of(rest), total_of(squares)), thread) / count;
  let factor = 1.0 / sqrt(max(moments.y - moments.x * moments.x, 0.0) + p.eps);
  for (var c = thread; c < p.cols; c += WG) {
    let d = (T32(x[start + c]) - mean) - moments.x;
    y[row * p.cols + c] = T(d * factor * gamma[c] + beta[c]);
  }
}
