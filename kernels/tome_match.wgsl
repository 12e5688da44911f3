// nodeMax[b, s] = max over d of ⟨x_s, x_d⟩ / (‖x_s‖‖x_d‖), nodeIdx[b, s] = the lowest d that reaches it.
//
// x [B, N, C], rows `stride` elements apart; norms [B, N]; sources [B, S]; panels of tome_pack.wgsl →
// nodeMax, nodeIdx [B, splits, S], each split over its own run of panels; tome_best.wgsl joins them.
//
// A product of 64 sources with one panel of 64 destinations after the other, 16 channels at a time; the scores
// exist in registers only, 8 × 4 per thread, and every row keeps its best. A source's length changes no order among
// its scores, so it divides their maximum alone. Scores that are NaN never win; where none did, the destination is
// 0. The maximum of a source whose norm is NaN or infinite is the lowest f32, so that it merges last.
//
// A workgroup takes 64 sources (x, from `tile` on) of one split (y) of one image (z). Sources past the last repeat
// it and are not stored; channels past the last are zeros; destinations past the last never win. Destinations travel
// as f32 when the threads of a row compare theirs: fewer than 2^24. 8 KiB of workgroup memory. Overlaps nothing.
// Appended: inline/rows_wide.wgsl or rows_narrow.wgsl.

struct Params {
  tokens: u32, // N
  channels: u32, // C
  offset: u32, // of x, in elements
  stride: u32, // of x, in elements
  sources: u32, // S
  destinations: u32, // D
  run: u32, // panels of a split
  tile: u32, // of 64 sources, the first of this dispatch
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<S>;
@group(0) @binding(2) var<storage, read> norms: array<f32>;
@group(0) @binding(3) var<storage, read> sources: array<u32>;
@group(0) @binding(4) var<storage, read> panels: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> node_max: array<f32>;
@group(0) @binding(6) var<storage, read_write> node_idx: array<u32>;

// Register tiles take no override: these are constants.
const TILE = 64u; // sources, and destinations
const DEPTH = 16u; // channels at a time
const ACROSS = 16u; // threads along destinations, 4 each
const DOWN = 8u; // threads along sources, ROWS each
const ROWS = 8u;
const THREADS = ACROSS * DOWN;
const LOWEST = -3.4028234e38;

var<workgroup> a: array<vec4<f32>, TILE * DEPTH / 4u>; // [source][channel]
var<workgroup> b: array<vec4<f32>, DEPTH * TILE / 4u>; // [channel][destination]

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let image = group.z;
  let first = (p.tile + group.x) * TILE;
  let tx = thread % ACROSS;
  let ty = thread / ACROSS;

  // What this thread brings of the sources: four channels of one, and the same four of the one 32 further on.
  let quarter = thread % 4u;
  var starts: array<u32, 2>;
  for (var i = 0u; i < 2u; i++) {
    let s = min(first + thread / 4u + 32u * i, p.sources - 1u);
    starts[i] = p.offset + (image * p.tokens + sources[image * p.sources + s]) * p.stride;
  }

  var best: array<f32, ROWS>;
  var at: array<u32, ROWS>;
  for (var i = 0u; i < ROWS; i++) { best[i] = LOWEST; }

  let count = (p.destinations + TILE - 1u) / TILE;
  let last = min(count, (group.y + 1u) * p.run);
  for (var panel = group.y * p.run; panel < last; panel++) {
    let base = (image * count + panel) * p.channels * ACROSS;
    var score: array<vec4<f32>, ROWS>;
    for (var i = 0u; i < ROWS; i++) { score[i] = vec4(0.0); }
    for (var k = 0u; k < p.channels; k += DEPTH) {
      workgroupBarrier();
      let c = k + 4u * quarter;
      for (var i = 0u; i < 2u; i++) {
        var v = vec4(0.0);
        if (c < p.channels) { v = four(starts[i] + c, p.channels - c); }
        a[thread + THREADS * i] = v;
        var w = vec4(0.0);
        let row = k + thread / ACROSS + DOWN * i;
        if (row < p.channels) { w = panels[base + row * ACROSS + tx]; }
        b[thread + THREADS * i] = w;
      }
      workgroupBarrier();
      for (var q = 0u; q < DEPTH / 4u; q++) {
        let b0 = b[(4u * q) * ACROSS + tx];
        let b1 = b[(4u * q + 1u) * ACROSS + tx];
        let b2 = b[(4u * q + 2u) * ACROSS + tx];
        let b3 = b[(4u * q + 3u) * ACROSS + tx];
        for (var i = 0u; i < ROWS; i++) {
          let v = a[(ty + DOWN * i) * (DEPTH / 4u) + q];
          score[i] += v.x * b0;
          score[i] += v.y * b1;
          score[i] += v.z * b2;
          score[i] += v.w * b3;
        }
      }
    }
    for (var i = 0u; i < ROWS; i++) {
      for (var j = 0u; j < 4u; j++) {
        let d = panel * TILE + 4u * tx + j;
        if (d < p.destinations && score[i][j] > best[i]) {
          best[i] = score[i][j];
          at[i] = d;
        }
      }
    }
  }

  // The 16 threads of a row put theirs side by side: [ty][tx][two fours of rows].
  workgroupBarrier();
  a[2u * thread] = vec4(best[0], best[1], best[2], best[3]);
  a[2u * thread + 1u] = vec4(best[4], best[5], best[6], best[7]);
  b[2u * thread] = vec4(f32(at[0]), f32(at[1]), f32(at[2]), f32(at[3]));
  b[2u * thread + 1u] = vec4(f32(at[4]), f32(at[5]), f32(at[6]), f32(at[7]));
  workgroupBarrier();
  let s = first + thread;
  if (thread < TILE && s < p.sources) {
    let i = thread / DOWN;
    var most = LOWEST;
    var idx = 0.0;
    for (var t = 0u; t < ACROSS; t++) {
      let cell = 2u * ((thread % DOWN) * ACROSS + t) + i / 4u;
      let value = a[cell][i % 4u];
      let d = b[cell][i % 4u];
      if (value > most || (value == most && value > LOWEST && d < idx)) {
        most = value;
        idx = d;
      }
    }
    let to = (image * groups.y + group.y) * p.sources + s;
    let norm = norms[image * p.tokens + sources[image * p.sources + s]];
    node_max[to] = select(LOWEST, most / norm, norm < -LOWEST);
    node_idx[to] = u32(idx);
  }
}
