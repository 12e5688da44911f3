// Appended to the kernels of token merging that number things with one workgroup of 256 threads per image:
// (sum of `own` over the threads before this one, sum over all of them). Called in uniform control flow only.
// scan_subgroup.wgsl does the same with subgroups.

const THREADS = 256u;
var<workgroup> scan_sums: array<u32, THREADS>;

fn scan(thread: u32, own: u32) -> vec2<u32> {
  workgroupBarrier();
  scan_sums[thread] = own;
  for (var step = 1u; step < THREADS; step *= 2u) {
    workgroupBarrier();
    var sum = scan_sums[thread];
    if (thread >= step) { sum += scan_sums[thread - step]; }
    workgroupBarrier();
    scan_sums[thread] = sum;
  }
  workgroupBarrier();
  return vec2(scan_sums[thread] - own, scan_sums[THREADS - 1u]);
}
