// Appended to kernels whose workgroup of WG threads, a power of two up to 256, adds pairs: their sum, for every
// thread. Called in uniform control flow only. reduce_subgroup.wgsl does the same with subgroups.

var<workgroup> reduce_sums: array<vec2f, WG>;

fn sum_over_threads(value: vec2f, thread: u32) -> vec2f {
  workgroupBarrier();
  reduce_sums[thread] = value;
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) { reduce_sums[thread] += reduce_sums[thread + half]; }
  }
  workgroupBarrier();
  return reduce_sums[0];
}
