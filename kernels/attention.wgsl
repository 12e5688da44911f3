// Fused attention: out[i] = Σ_j softmax_j(scale · q[i]·k[j]) · v[j] per image and head; of the scores, a tile of
// 32 × 32 is held at a time.
//
// q [B, N, heads·D], k and v [B, M, heads·D], rows their own stride apart, views of one buffer or of several;
// out [B, N, heads·D] without gaps. D, offsets and strides are multiples of four elements and in units of F4.
// Causal: query i sees keys 0..i. Scores, sums and the workgroup's memory are f32 whatever F is.
// Bindings: 1 q, 2 k, 3 v, 4 out (another buffer). Workgroups: from `first` to `end`, of
// B · heads · ceil(N / 32), queries fastest, so that neighbours share keys and values. Appended:
// inline/row_max_workgroup.wgsl or row_max_subgroup.wgsl.
//
// Method. For each tile of keys: S = Q·Kᵀ, the head width in CHUNKS pieces of DC4 vectors; each thread has SQ ≤ 4
// queries' scores for 4 keys in registers. Their running maximum m follows every tile: O and the sums l shrink by e^(m_old − m_new).
// P = e^(S − m) goes to the workgroup's memory; O += P·V, V in VCHUNKS pieces of DV4 vectors, each thread with
// QW queries × CW vectors of each piece in registers. With one chunk, Q stays loaded. l is summed per thread and
// combined at the end. Sizes are chosen in src/backend/webgpu/attention.ts so that 16 kB hold everything; they are
// `const`, put before this text, because WGSL sizes a thread's arrays by `const` only; and loops over these arrays
// are written out there (unroll.ts), so that they are registers.
//
// Layout in the workgroup's memory. Rows of Q and K are an odd number of vectors apart: eight threads that read
// eight rows meet no bank twice. Key sx + 8e is element e of vector sx of P's row, and that vector lies at
// sx ^ (row & 7), for the same reason.
//
// Tails: absent queries, keys, values and columns are read as zeros; absent or unseen keys score LOW, whose
// exponential is 0 beside any real score, and every query sees a key in the first tile; absent queries are not
// written.

struct Params {
  first: u32,
  end: u32,
  tiles: u32, // ceil(N / 32)
  heads: u32,
  queries: u32, // N
  keys: u32, // M
  causal: u32, // 0 or 1
  scale: f32, // scale · log2(e)
  q_offset: u32,
  q_stride: u32,
  k_offset: u32,
  k_stride: u32,
  v_offset: u32,
  v_stride: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<F4>;
@group(0) @binding(2) var<storage, read> k: array<F4>;
@group(0) @binding(3) var<storage, read> v: array<F4>;
@group(0) @binding(4) var<storage, read_write> out: array<F4>;

const BQ = 32u; // queries per tile
const BK = 32u; // keys per tile
const SX = 8u; // threads along the keys of a tile, 4 keys each
const SY = WG / SX; // threads along its queries
const OY = WG / OX; // threads along the queries of O
const STRIDE = DC4 | 1u;
const V_AT = select(0u, BQ * STRIDE, CHUNKS == 1u); // V may overwrite Q where Q is loaded anew
const LOW = -1e30;

var<workgroup> tile: array<vec4f, TILE>; // BQ + BK rows, or V
var<workgroup> probs: array<vec4f, 256>; // P; before, and at the end, a vec4f per thread
var<workgroup> shrink: array<vec4f, SY>; // of query sy + SY · i, in element i

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let task = p.first + group.y * groups.x + group.x;
  if (task >= p.end) { return; }
  let q0 = task % p.tiles * BQ;
  let image = task / p.tiles / p.heads;
  let head = task / p.tiles % p.heads * D4;
  let q_at = p.q_offset + image * p.queries * p.q_stride + head;
  let k_at = p.k_offset + image * p.keys * p.k_stride + head;
  let v_at = p.v_offset + image * p.keys * p.v_stride + head;
  let sx = thread % SX;
  let sy = thread / SX;
  let ox = thread % OX;
  let oy = thread / OX;

  var o: array<vec4f, VCHUNKS * CW * QW>;
  var m = vec4f(LOW); // of queries sy + SY · i
  var l = vec4f();

  let seen = select(p.keys, min(p.keys, q0 + BQ), p.causal == 1u);
  for (var k0 = 0u; k0 < seen; k0 += BK) {
    var s = array<vec4f, SQ>(); // element e: key sx + 8e; naga zeroes a loop's variable only where told to
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
      workgroupBarrier();
      if (CHUNKS > 1u || k0 == 0u) {
        for (var i = thread; i < BQ * DC4; i += WG) {
          let row = i / DC4;
          let col = chunk * DC4 + i % DC4;
          var value = vec4f();
          if (q0 + row < p.queries && col < D4) {
            value = vec4f(q[q_at + (q0 + row) * p.q_stride + col]) * p.scale;
          }
          tile[row * STRIDE + i % DC4] = value;
        }
      }
      for (var i = thread; i < BK * DC4; i += WG) {
        let row = i / DC4;
        let col = chunk * DC4 + i % DC4;
        var value = vec4f();
        if (k0 + row < p.keys && col < D4) { value = vec4f(k[k_at + (k0 + row) * p.k_stride + col]); }
        tile[(BQ + row) * STRIDE + i % DC4] = value;
      }
      workgroupBarrier();
      for (var d = 0u; d < DC4; d++) {
        let key0 = tile[(BQ + sx) * STRIDE + d];
        let key1 = tile[(BQ + sx + 8u) * STRIDE + d];
        let key2 = tile[(BQ + sx + 16u) * STRIDE + d];
        let key3 = tile[(BQ + sx + 24u) * STRIDE + d];
        for (var i = 0u; i < SQ; i++) { // unroll
          let query = tile[(sy + SY * i) * STRIDE + d];
          s[i] += vec4f(dot(query, key0), dot(query, key1), dot(query, key2), dot(query, key3));
        }
      }
    }

    let key = k0 + sx + vec4u(0u, 8u, 16u, 24u);
    var highest = vec4f(LOW);
    for (var i = 0u; i < SQ; i++) { // unroll
      let limit = select(p.keys, min(p.keys, q0 + sy + SY * i + 1u), p.causal == 1u);
      s[i] = select(vec4f(LOW), s[i], key < vec4u(limit));
      highest[i] = max(max(s[i].x, s[i].y), max(s[i].z, s[i].w));
    }
    highest = max(row_max(highest, thread), m);
    let less = exp2(m - highest);
    m = highest;
    l *= less;
    workgroupBarrier(); // K is read, and so are the maxima
    for (var i = 0u; i < SQ; i++) { // unroll
      let row = sy + SY * i;
      let e = exp2(s[i] - m[i]);
      l[i] += (e.x + e.y) + (e.z + e.w);
      probs[row * SX + (sx ^ (row & 7u))] = e;
    }
    if (sx == 0u) { shrink[sy] = less; }

    for (var chunk = 0u; chunk < VCHUNKS; chunk++) { // unroll
      if (chunk > 0u) { workgroupBarrier(); }
      for (var i = thread; i < BK * DV4; i += WG) {
        let row = i / DV4;
        let col = chunk * DV4 + i % DV4;
        var value = vec4f();
        if (k0 + row < p.keys && col < D4) { value = vec4f(v[v_at + (k0 + row) * p.v_stride + col]); }
        tile[V_AT + i] = value;
      }
      workgroupBarrier();
      for (var i = 0u; i < QW; i++) { // unroll
        let row = oy + OY * i;
        let factor = shrink[row % SY][row / SY];
        for (var c = 0u; c < CW; c++) { // unroll
          o[(chunk * CW + c) * QW + i] *= factor;
        }
      }
      for (var j = 0u; j < SX; j++) {
        var weights: array<vec4f, QW>;
        for (var i = 0u; i < QW; i++) { // unroll
          let row = oy + OY * i;
          weights[i] = probs[row * SX + (j ^ (row & 7u))];
        }
        for (var c = 0u; c < CW; c++) { // unroll
          let at = V_AT + j * DV4 + min(ox + OX * c, DV4 - 1u);
          let value0 = tile[at];
          let value1 = tile[at + 8u * DV4];
          let value2 = tile[at + 16u * DV4];
          let value3 = tile[at + 24u * DV4];
          for (var i = 0u; i < QW; i++) { // unroll
            let w = weights[i];
            o[(chunk * CW + c) * QW + i] += w.x * value0 + w.y * value1 + w.z * value2 + w.w * value3;
          }
        }
      }
    }
  }

  workgroupBarrier();
  probs[thread] = l;
  workgroupBarrier();
  for (var i = 0u; i < QW; i++) { // unroll
    let row = oy + OY * i;
    var sum = 0.0;
    for (var j = 0u; j < SX; j++) { sum += probs[row % SY * SX + j][row / SY]; }
    if (q0 + row < p.queries) {
      let to = (image * p.queries + q0 + row) * p.heads * D4 + head;
      for (var chunk = 0u; chunk < VCHUNKS; chunk++) { // unroll
        for (var c = 0u; c < CW; c++) { // unroll
          let col = ox + OX * c;
          if (col < DV4 && chunk * DV4 + col < D4) {
            out[to + chunk * DV4 + col] = F4(o[(chunk * CW + c) * QW + i] / sum);
          }
        }
      }
    }
  }
}
