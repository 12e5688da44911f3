// out = act(Σ slices + bias + rowBias) + residual: the end of a matmul.wgsl whose sums were made in slices.
//
// slices f32 [slices, M, w_stride] vectors, added in ascending order: the same shapes give the same bits. Params as in
// matmul.wgsl, whose words it shares; y_vector.wgsl or y_scalar.wgsl. A thread makes one vector; those beyond the end
// do nothing. Bindings: 0 Params, 1 slices, 2 bias, 3 residual, 4 rowBias, 5 out, a buffer of its own. Workgroups:
// x and y, folded.

const EPILOGUE = 2;

override THREADS: u32 = 64u;

@group(0) @binding(1) var<storage, read> partial: array<vec4f>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * THREADS + thread;
  let size = p.rows * p.w_stride;
  if (i >= size) {
    return;
  }
  var sum = vec4f();
  for (var s = 0u; s < p.slices; s++) {
    sum += partial[s * size + i];
  }
  let m = i / p.w_stride;
  finish(m, 4u * (i - m * p.w_stride), sum);
}
