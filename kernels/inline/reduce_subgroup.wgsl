// reduce_workgroup.wgsl with subgroups of any size: two barriers instead of up to ten. Neighbouring threads are a
// subgroup, which src/backend/webgpu/subgroups.ts has seen to be so on this device. Subgroups are added in
// ascending order: the same bits every time, but not those of the other text.

var<workgroup> reduce_sums: array<vec2f, WG>;

fn sum_over_threads(value: vec2f, thread: u32) -> vec2f {
  let own = subgroupAdd(value);
  let size = subgroupAdd(1u); // fewer than the hardware's where the workgroup is smaller
  workgroupBarrier();
  if (thread % size == 0u) { reduce_sums[thread / size] = own; }
  workgroupBarrier();
  var sum = reduce_sums[0];
  for (var i = 1u; i < WG / size; i++) { sum += reduce_sums[i]; }
  return sum;
}
