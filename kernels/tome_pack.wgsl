// Packs x/‖x‖ of the destinations, in f32, into panels of 64: [B][⌈D/64⌉][C][64], zeros after the last one.
//
// x [B, N, C], rows `stride` elements apart; norms [B, N]; destinations [B, D].
//
// A workgroup takes 16 channels (x) of one panel (y) of one image (z) and turns them round in workgroup memory.
// Overlaps nothing. Appended: inline/rows_wide.wgsl or rows_narrow.wgsl.

struct Params {
  tokens: u32, // N
  channels: u32, // C
  offset: u32, // of x, in elements
  stride: u32, // of x, in elements
  count: u32, // D
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<S>;
@group(0) @binding(2) var<storage, read> norms: array<f32>;
@group(0) @binding(3) var<storage, read> destinations: array<u32>;
@group(0) @binding(4) var<storage, read_write> panels: array<vec4<f32>>;

const PANEL = 64u;
const DEPTH = 16u;
var<workgroup> turned: array<f32, DEPTH * PANEL>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let column = thread / 4u;
  let quarter = thread % 4u;
  let d = group.y * PANEL + column;
  let c = group.x * DEPTH + 4u * quarter;
  var v = vec4(0.0);
  if (d < p.count && c < p.channels) {
    let token = group.z * p.tokens + destinations[group.z * p.count + d];
    // A quotient, not a product with the reciprocal: tokens that differ in length alone then tie more often.
    v = four(p.offset + token * p.stride + c, p.channels - c) / norms[token];
  }
  for (var i = 0u; i < 4u; i++) { turned[(4u * quarter + i) * PANEL + column] = v[i]; }
  workgroupBarrier();
  let row = thread / 16u;
  let to = group.x * DEPTH + row;
  if (to < p.channels) {
    let q = thread % 16u;
    let cell = row * PANEL + 4u * q;
    panels[((group.z * groups.y + group.y) * p.channels + to) * 16u + q] =
      vec4(turned[cell], turned[cell + 1u], turned[cell + 2u], turned[cell + 3u]);
  }
}
