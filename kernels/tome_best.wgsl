// The best over the splits of tome_match.wgsl: [B, splits, S] → [B, S]. A tie goes to the lower split, whose
// destinations are lower.
//
// One thread per source, images in y. Overlaps nothing.

struct Params {
  sources: u32, // S
  splits: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> each_max: array<f32>;
@group(0) @binding(2) var<storage, read> each_idx: array<u32>;
@group(0) @binding(3) var<storage, read_write> node_max: array<f32>;
@group(0) @binding(4) var<storage, read_write> node_idx: array<u32>;

override WORKGROUP = 64u;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= p.sources) { return; }
  var cell = id.y * p.splits * p.sources + id.x;
  var most = each_max[cell];
  var idx = each_idx[cell];
  for (var i = 1u; i < p.splits; i++) {
    cell += p.sources;
    if (each_max[cell] > most) {
      most = each_max[cell];
      idx = each_idx[cell];
    }
  }
  node_max[id.y * p.sources + id.x] = most;
  node_idx[id.y * p.sources + id.x] = idx;
}
