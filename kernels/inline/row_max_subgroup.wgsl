// row_max_workgroup.wgsl with subgroups of at least eight threads, without a barrier, and the same maxima.
// Neighbouring threads are a subgroup, see reduce_subgroup.wgsl.

fn row_max(value: vec4f, thread: u32) -> vec4f {
  var highest = max(value, subgroupShuffleXor(value, 1u));
  highest = max(highest, subgroupShuffleXor(highest, 2u));
  return max(highest, subgroupShuffleXor(highest, 4u));
}
