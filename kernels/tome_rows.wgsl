// Sorts tokens by their row, in no order within a row: ends [B, K], where each row's tokens end in buckets [B, N]
// (they begin where those of the row before end). The order within a row is that of atomic additions, so it differs
// from run to run; tome_members.wgsl undoes that.
//
// rowOf [B, N], every row 0..K−1 at least once. One workgroup per image (x); each thread takes a run of ⌈K/256⌉ rows.
// Overlaps nothing.
// Appended: inline/scan_workgroup.wgsl or scan_subgroup.wgsl.

struct Params {
  tokens: u32, // N
  rows: u32, // K
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> row_of: array<u32>;
@group(0) @binding(2) var<storage, read_write> ends: array<atomic<u32>>;
@group(0) @binding(3) var<storage, read_write> buckets: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let base = group.x * p.tokens;
  let rows = group.x * p.rows;
  for (var k = thread; k < p.rows; k += THREADS) { atomicStore(&ends[rows + k], 0u); }
  storageBarrier();
  for (var n = thread; n < p.tokens; n += THREADS) { atomicAdd(&ends[rows + row_of[base + n]], 1u); }
  storageBarrier();

  let run = (p.rows + THREADS - 1u) / THREADS;
  let first = min(p.rows, thread * run);
  let last = min(p.rows, first + run);
  var own = 0u;
  for (var k = first; k < last; k++) { own += atomicLoad(&ends[rows + k]); }
  var begin = scan(thread, own).x;
  for (var k = first; k < last; k++) {
    let count = atomicLoad(&ends[rows + k]);
    atomicStore(&ends[rows + k], begin);
    begin += count;
  }
  storageBarrier();
  // Filling a row moves its begin to its end.
  for (var n = thread; n < p.tokens; n += THREADS) {
    let slot = atomicAdd(&ends[rows + row_of[base + n]], 1u);
    buckets[base + slot] = n;
  }
}
