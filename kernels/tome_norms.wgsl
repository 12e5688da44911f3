// norms[t] = ‖x_t‖ in f32, or 1 where that is zero: such a token then has similarity 0 to everything.
//
// x: rows of C elements, `stride` apart → norms [rows].
//
// A workgroup takes 16 rows, 16 threads each. A row's sum of squares runs over its fours of channels 16 apart,
// then over its threads, whatever the row: equal tokens have equal norms. Appended: inline/rows_wide.wgsl or rows_narrow.wgsl.

struct Params {
  rows: u32, // B · N
  channels: u32, // C
  offset: u32, // of x, in elements
  stride: u32, // of x, in elements
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<S>;
@group(0) @binding(2) var<storage, read_write> norms: array<f32>;

const LANES = 16u; // threads of a row
const ROWS = 16u;
var<workgroup> sums: array<f32, ROWS * LANES>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = (group.y * groups.x + group.x) * ROWS + thread / LANES;
  let lane = thread % LANES;
  var sum = 0.0;
  if (row < p.rows) {
    let at = p.offset + row * p.stride;
    for (var c = 4u * lane; c < p.channels; c += 4u * LANES) {
      let v = four(at + c, p.channels - c);
      sum += dot(v, v);
    }
  }
  sums[thread] = sum;
  workgroupBarrier();
  if (lane == 0u && row < p.rows) {
    for (var i = 1u; i < LANES; i++) { sum += sums[thread + i]; }
    norms[row] = select(sqrt(sum), 1.0, sum == 0.0);
  }
}
