// The plan: rowOf [B, N], the row of the merged matrix for each token. The R sources with the largest nodeMax merge,
// ties go to the lower source; the row of an unmerged source is its rank among them, that of destination d is S − R + d.
//
// nodeMax, nodeIdx, sources [B, S], destinations [B, D]. N = S + D, 1 ≤ R ≤ S.
//
// One workgroup per image (x). A radix select finds the R-th largest key, 8 bits at a time from the top; counts are
// integers, so that their order is free. Then each thread numbers a run of ⌈S/256⌉ sources. nodeMax holds no NaN.
// Overlaps nothing. Appended: inline/scan_workgroup.wgsl or scan_subgroup.wgsl.

struct Params {
  sources: u32, // S
  destinations: u32, // D
  merged: u32, // R
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> node_max: array<f32>;
@group(0) @binding(2) var<storage, read> node_idx: array<u32>;
@group(0) @binding(3) var<storage, read> sources: array<u32>;
@group(0) @binding(4) var<storage, read> destinations: array<u32>;
@group(0) @binding(5) var<storage, read_write> row_of: array<u32>;

var<workgroup> bins: array<atomic<u32>, THREADS>;
var<workgroup> chosen: u32;
var<workgroup> above: u32;

/// An unsigned integer that orders floats; both zeros have the same.
fn order_of(value: f32) -> u32 {
  if (value == 0.0) { return 0x80000000u; }
  let bits = bitcast<u32>(value);
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let base = group.x * p.sources;
  var key = 0u;
  var left = p.merged; // of the sources that have the key, so many merge
  for (var digit = 0u; digit < 4u; digit++) {
    let shift = 24u - 8u * digit;
    let known = select(0xffffffffu << ((shift + 8u) & 31u), 0u, digit == 0u);
    atomicStore(&bins[thread], 0u);
    workgroupBarrier();
    for (var i = thread; i < p.sources; i += THREADS) {
      let k = order_of(node_max[base + i]);
      if (((k ^ key) & known) == 0u) { atomicAdd(&bins[(k >> shift) & 255u], 1u); }
    }
    workgroupBarrier();
    let bin = THREADS - 1u - thread;
    let own = atomicLoad(&bins[bin]);
    let before = scan(thread, own).x;
    if (before < left && left <= before + own) {
      chosen = bin;
      above = before;
    }
    workgroupBarrier();
    key |= chosen << shift;
    left -= above;
  }

  let run = (p.sources + THREADS - 1u) / THREADS;
  let first = min(p.sources, thread * run);
  let last = min(p.sources, first + run);
  var more = 0u;
  var same = 0u;
  for (var i = first; i < last; i++) {
    let k = order_of(node_max[base + i]);
    if (k > key) { more++; }
    if (k == key) { same++; }
  }
  more = scan(thread, more).x;
  same = scan(thread, same).x;
  let tokens = group.x * (p.sources + p.destinations);
  let kept = p.sources - p.merged;
  for (var i = first; i < last; i++) {
    let k = order_of(node_max[base + i]);
    var row = i - more - min(same, left);
    if (k > key || (k == key && same < left)) { row = kept + node_idx[base + i]; }
    row_of[tokens + sources[base + i]] = row;
    if (k > key) { more++; }
    if (k == key) { same++; }
  }
  for (var d = thread; d < p.destinations; d += THREADS) {
    row_of[tokens + destinations[group.x * p.destinations + d]] = kept + d;
  }
}
