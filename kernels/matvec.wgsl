// out = act(x·W + bias + rowBias) + residual for few rows (a time embedding's M is the batch): the time is that of
// reading W once, so many threads read it side by side.
//
// x [M, K], out, residual [M, N] at any stride; W, bias, rowBias, Params and bindings as in matmul.wgsl with k = 1
// (its geometry and slices are not used); x_scalar.wgsl and y_scalar.wgsl. A workgroup makes 4 rows × WX vectors of
// columns; its thread (i, j) adds rows j, j + WY, j + 2·WY … of W's vector of columns i. The WY partial sums are
// then added in ascending order, so that the same shapes give the same bits. W's rows up to K are read, N padded to
// whole tiles. out must be a buffer of its own. Workgroups: x column tiles, y row tiles.

const EPILOGUE = 3;

@group(0) @binding(2) var<storage, read> w: array<F4>;

override WX: u32 = 8u;
override WY: u32 = 16u;

var<workgroup> sums: array<vec4f, 4u * WX * WY>;

@compute @workgroup_size(WX, WY)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let n4 = group.x * WX + local.x;
  let m0 = group.y * 4u;
  // Beyond the last row the last row is summed again, and not stored.
  let last = p.rows - 1u;
  let x0 = p.x_offset + min(m0, last) * p.x_stride;
  let x1 = p.x_offset + min(m0 + 1u, last) * p.x_stride;
  let x2 = p.x_offset + min(m0 + 2u, last) * p.x_stride;
  let x3 = p.x_offset + min(m0 + 3u, last) * p.x_stride;

  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  for (var k = local.y; k < p.channels; k += WY) {
    let b = vec4f(w[k * p.w_stride + n4]);
    s0 = fma(vec4f(f32(x[x0 + k])), b, s0);
    s1 = fma(vec4f(f32(x[x1 + k])), b, s1);
    s2 = fma(vec4f(f32(x[x2 + k])), b, s2);
    s3 = fma(vec4f(f32(x[x3 + k])), b, s3);
  }
  let row = WX * WY;
  sums[thread] = s0;
  sums[thread + row] = s1;
  sums[thread + 2u * row] = s2;
  sums[thread + 3u * row] = s3;
  workgroupBarrier();

  for (var i = thread; i < 4u * WX; i += row) {
    let r = i / WX;
    let column = i % WX;
    var sum = vec4f();
    for (var j = 0u; j < WY; j++) {
      sum += sums[r * row + j * WX + column];
    }
    finish(m0 + r, 4u * (group.x * WX + column), sum);
  }
}
