// Appended to attention.wgsl: the maximum over the eight threads of a row, for each of them, through `probs`, which
// the caller may overwrite after a barrier. Called in uniform control flow only. row_max_subgroup.wgsl does the same
// with subgroups.

fn row_max(value: vec4f, thread: u32) -> vec4f {
  probs[thread] = value;
  workgroupBarrier();
  var highest = value;
  for (var i = 0u; i < 8u; i++) { highest = max(highest, probs[(thread & ~7u) + i]); }
  return highest;
}
