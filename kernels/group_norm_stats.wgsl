// Mean and sum of squared deviations of each channel over one block of rows: the first third of group norm.
//
// x [B, N, C], rows `x_stride` apart → moments [B, blocks, C] of (mean, Σ(x − mean)²), f32. A block is
// `block_rows` rows, the last one what is left. T is four channels side by side, or one where widths, strides or
// offsets are no multiples of four; `cols`, offsets and strides are in units of T.
// Bindings: 1 x, 2 moments. Workgroups: B · blocks · ceil(cols / TX), chunks of TX columns fastest.
//
// A thread sums one column over every TY-th row, shifted by its first value, so that a mean far above the
// deviation costs nothing; the TY threads of a column are then combined as Chan, Golub and LeVeque do (1983), in
// a fixed order. Tails: columns beyond C and rows beyond the block count for nothing.

struct Params {
  tasks: u32, // workgroups that have work
  chunks: u32, // of columns
  blocks: u32, // of rows, per image
  rows: u32, // N
  block_rows: u32,
  cols: u32,
  x_offset: u32,
  x_stride: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read_write> moments: array<vec2f>;

override TX: u32 = 16; // columns of a workgroup
override TY: u32 = 16; // threads per column; TX · TY = 256

var<workgroup> means: array<T32, 256>;
var<workgroup> squares: array<T32, 256>;

@compute @workgroup_size(TX, TY)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let task = group.y * groups.x + group.x;
  if (task >= p.tasks) { return; }
  let col = task % p.chunks * TX + local.x;
  let block = task / p.chunks;
  let first = block % p.blocks * p.block_rows;
  let height = min(p.block_rows, p.rows - first);
  let image = block / p.blocks;

  var mean = T32();
  var square = T32();
  if (col < p.cols && local.y < height) {
    var at = p.x_offset + (image * p.rows + first + local.y) * p.x_stride + col;
    let shift = T32(x[at]);
    var sum = T32();
    var n = 0.0;
    for (var row = local.y; row < height; row += TY) {
      let v = T32(x[at]) - shift;
      sum += v;
      square += v * v;
      n += 1.0;
      at += TY * p.x_stride;
    }
    mean = shift + sum / n;
    square = max(square - sum * (sum / n), T32());
  }
  means[local.y * TX + local.x] = mean;
  squares[local.y * TX + local.x] = square;
  workgroupBarrier();
  if (local.y > 0 || col >= p.cols) { return; }

  let parts = min(TY, height);
  var apart = T32();
  for (var i = 1u; i < parts; i++) {
    let n = f32((height - i + TY - 1) / TY);
    apart += n * (means[i * TX + local.x] - mean);
  }
  let whole = mean + apart / f32(height);
  var total = T32();
  for (var i = 0u; i < parts; i++) {
    let n = f32((height - i + TY - 1) / TY);
    let d = means[i * TX + local.x] - whole;
    total += squares[i * TX + local.x] + n * d * d;
  }
  for (var lane = 0u; lane < V; lane++) {
    moments[(block * p.cols + col) * V + lane] = vec2f(lane_of(whole, lane), lane_of(total, lane));
  }
}
