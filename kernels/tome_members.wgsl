// members [B, N]: the tokens of row 0, of row 1, …, ascending in each row.
//
// rowOf, buckets [B, N], ends [B, K] of tome_rows.wgsl. Each token counts the lower ones in its row: a row has three
// or four as a rule, N at most. One thread per token, images in y. Overlaps nothing.

struct Params {
  tokens: u32, // N
  rows: u32, // K
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> row_of: array<u32>;
@group(0) @binding(2) var<storage, read> ends: array<u32>;
@group(0) @binding(3) var<storage, read> buckets: array<u32>;
@group(0) @binding(4) var<storage, read_write> members: array<u32>;

override WORKGROUP = 64u;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= p.tokens) { return; }
  let base = id.y * p.tokens;
  let row = row_of[base + id.x];
  let end = ends[id.y * p.rows + row];
  var begin = 0u;
  if (row > 0u) { begin = ends[id.y * p.rows + row - 1u]; }
  var rank = 0u;
  for (var i = begin; i < end; i++) {
    if (buckets[base + i] < id.x) { rank++; }
  }
  members[base + begin + rank] = id.x;
}
