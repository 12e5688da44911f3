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

// Register tiles take no override: these are constants, and the eight rows of a thread are written out, since not
// every compiler keeps an array in registers.
const TILE = 64u; // sources, and destinations
const DEPTH = 16u; // channels at a time
const ACROSS = 16u; // threads along destinations, 4 each
const DOWN = 8u; // threads along sources, 8 each
const THREADS = ACROSS * DOWN;
const LOWEST = -3.4028234e38;

var<workgroup> a: array<vec4<f32>, TILE * DEPTH / 4u>; // [source][channel]
var<workgroup> b: array<vec4<f32>, DEPTH * TILE / 4u>; // [channel][destination]

struct Best {
  score: f32,
  at: u32,
}

/// The best so far against destinations d..d+3. No branches: SwiftShader compiles 8 × 4 of them for over a minute.
fn better(best: Best, score: vec4<f32>, d: u32) -> Best {
  let ok = ((vec4(d) + vec4(0u, 1u, 2u, 3u)) < vec4(p.destinations)) & (score > vec4(LOWEST));
  let masked = select(vec4(LOWEST), score, ok);
  let top = max(max(masked.x, masked.y), max(masked.z, masked.w));
  let at = select(select(select(3u, 2u, masked.z == top), 1u, masked.y == top), 0u, masked.x == top);
  let wins = top > best.score;
  return Best(select(best.score, top, wins), select(best.at, d + at, wins));
}

/// Four channels of a source, and of four destinations, onto their scores.
fn madd(score: vec4<f32>, v: vec4<f32>, b0: vec4<f32>, b1: vec4<f32>, b2: vec4<f32>, b3: vec4<f32>) -> vec4<f32> {
  return score + v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
}

/// Channels c..c+3 of the row that starts at `start`.
fn load_source(start: u32, c: u32) -> vec4<f32> {
  if (c >= p.channels) { return vec4(0.0); }
  return four(start + c, p.channels - c);
}

/// One channel of four destinations of the panel at `base`.
fn load_panel(base: u32, channel: u32, tx: u32) -> vec4<f32> {
  if (channel >= p.channels) { return vec4(0.0); }
  return panels[base + channel * ACROSS + tx];
}

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
  let low = sources[image * p.sources + min(first + thread / 4u, p.sources - 1u)];
  let high = sources[image * p.sources + min(first + thread / 4u + 32u, p.sources - 1u)];
  let low_start = p.offset + (image * p.tokens + low) * p.stride;
  let high_start = p.offset + (image * p.tokens + high) * p.stride;

  var best0 = Best(LOWEST, 0u);
  var best1 = best0;
  var best2 = best0;
  var best3 = best0;
  var best4 = best0;
  var best5 = best0;
  var best6 = best0;
  var best7 = best0;

  let count = (p.destinations + TILE - 1u) / TILE;
  let last = min(count, (group.y + 1u) * p.run);
  for (var panel = group.y * p.run; panel < last; panel++) {
    let base = (image * count + panel) * p.channels * ACROSS;
    var s0 = vec4(0.0);
    var s1 = s0;
    var s2 = s0;
    var s3 = s0;
    var s4 = s0;
    var s5 = s0;
    var s6 = s0;
    var s7 = s0;
    for (var k = 0u; k < p.channels; k += DEPTH) {
      workgroupBarrier();
      let c = k + 4u * quarter;
      a[thread] = load_source(low_start, c);
      a[thread + THREADS] = load_source(high_start, c);
      b[thread] = load_panel(base, k + ty, tx);
      b[thread + THREADS] = load_panel(base, k + ty + DOWN, tx);
      workgroupBarrier();
      for (var q = 0u; q < DEPTH / 4u; q++) {
        let b0 = b[4u * q * ACROSS + tx];
        let b1 = b[(4u * q + 1u) * ACROSS + tx];
        let b2 = b[(4u * q + 2u) * ACROSS + tx];
        let b3 = b[(4u * q + 3u) * ACROSS + tx];
        let at = ty * (DEPTH / 4u) + q; // rows of a thread lie DOWN apart
        s0 = madd(s0, a[at], b0, b1, b2, b3);
        s1 = madd(s1, a[at + 32u], b0, b1, b2, b3);
        s2 = madd(s2, a[at + 64u], b0, b1, b2, b3);
        s3 = madd(s3, a[at + 96u], b0, b1, b2, b3);
        s4 = madd(s4, a[at + 128u], b0, b1, b2, b3);
        s5 = madd(s5, a[at + 160u], b0, b1, b2, b3);
        s6 = madd(s6, a[at + 192u], b0, b1, b2, b3);
        s7 = madd(s7, a[at + 224u], b0, b1, b2, b3);
      }
    }
    let d = panel * TILE + 4u * tx;
    best0 = better(best0, s0, d);
    best1 = better(best1, s1, d);
    best2 = better(best2, s2, d);
    best3 = better(best3, s3, d);
    best4 = better(best4, s4, d);
    best5 = better(best5, s5, d);
    best6 = better(best6, s6, d);
    best7 = better(best7, s7, d);
  }

  // The 16 threads of a row put theirs side by side: [ty][tx][two fours of rows].
  workgroupBarrier();
  a[2u * thread] = vec4(best0.score, best1.score, best2.score, best3.score);
  a[2u * thread + 1u] = vec4(best4.score, best5.score, best6.score, best7.score);
  b[2u * thread] = vec4(f32(best0.at), f32(best1.at), f32(best2.at), f32(best3.at));
  b[2u * thread + 1u] = vec4(f32(best4.at), f32(best5.at), f32(best6.at), f32(best7.at));
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
