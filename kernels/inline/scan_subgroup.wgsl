// scan_workgroup.wgsl with subgroups of any size: two barriers instead of eighteen, and the same integers.
// Neighbouring threads are a subgroup, see reduce_subgroup.wgsl.

const THREADS = 256u;
var<workgroup> scan_sums: array<u32, THREADS>;

fn scan(thread: u32, own: u32) -> vec2<u32> {
  let lower = subgroupExclusiveAdd(own);
  let mine = subgroupAdd(own);
  let size = subgroupAdd(1u);
  workgroupBarrier();
  if (thread % size == 0u) { scan_sums[thread / size] = mine; }
  workgroupBarrier();
  var before = lower;
  var all = 0u;
  for (var i = 0u; i < THREADS / size; i++) {
    let sum = scan_sums[i];
    if (i < thread / size) { before += sum; }
    all += sum;
  }
  return vec2(before, all);
}
