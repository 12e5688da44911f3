// Which tokens are sources and which destinations, both listed in ascending order.
//
// randIdx [B, D], the position of each cell's destination, row-major in the cell → sources [B, S],
// destinations [B, D]. Tokens right of and below the last whole cell are sources. S = N − D.
//
// One workgroup per image (x); each thread takes a run of ⌈N/256⌉ tokens, the last runs may be short or empty.
// Outputs overlap nothing.
// Appended: inline/scan_workgroup.wgsl or scan_subgroup.wgsl.

struct Params {
  tokens: u32, // N
  width: u32, // of the grid
  sx: u32, // columns of a cell
  sy: u32, // rows of a cell
  across: u32, // whole cells in a row of cells
  down: u32, // rows of whole cells
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rand_idx: array<u32>;
@group(0) @binding(2) var<storage, read_write> sources: array<u32>;
@group(0) @binding(3) var<storage, read_write> destinations: array<u32>;

fn is_destination(image: u32, token: u32) -> bool {
  let y = token / p.width;
  let x = token - y * p.width;
  let cy = y / p.sy;
  let cx = x / p.sx;
  if (cy >= p.down || cx >= p.across) { return false; }
  return (y - cy * p.sy) * p.sx + (x - cx * p.sx) == rand_idx[(image * p.down + cy) * p.across + cx];
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let image = group.x;
  let run = (p.tokens + THREADS - 1u) / THREADS;
  let first = min(p.tokens, thread * run);
  let last = min(p.tokens, first + run);
  var found = 0u;
  for (var n = first; n < last; n++) {
    if (is_destination(image, n)) { found++; }
  }
  var d = scan(thread, found).x;
  let count = p.across * p.down;
  for (var n = first; n < last; n++) {
    if (is_destination(image, n)) {
      destinations[image * count + d] = n;
      d++;
    } else {
      sources[image * (p.tokens - count) + n - d] = n;
    }
  }
}
