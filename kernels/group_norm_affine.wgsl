// Scale γ/σ and shift β − μ·γ/σ of each image and channel: the second third of group norm.
//
// moments [B, blocks, C] of (mean, Σ(x − mean)²) as group_norm_stats.wgsl leaves it; γ and β [C], f32 → y [B, 2C],
// each channel's scale and then each channel's shift, rows `y_stride` apart. Where F is f16, what rounding them
// loses follows as 2C more values, so that affine.wgsl has 22 bits: a mean far above the deviation needs them.
// Bindings: 1 moments, 2 γ, 3 β, 4 y. Workgroups: B · groups, groups fastest. Appended: inline/reduce_workgroup.wgsl
// or reduce_subgroup.wgsl.
//
// μ is taken as a distance from the first mean, and the variance from μ, so that nothing cancels. The sums are
// f32 and in an order that the shape and the device alone decide.

struct Params {
  tasks: u32, // workgroups that have work: B · groups
  groups: u32,
  blocks: u32, // of rows, per image
  rows: u32, // N
  block_rows: u32, // rows of each block but the last
  channels: u32,
  eps: f32,
  y_stride: u32, // 2C, or 4C where what is lost is to be written
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> moments: array<vec2f>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> beta: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<F>;

override WG: u32 = 256; // a power of two, at most 256

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let task = group.y * groups.x + group.x;
  if (task >= p.tasks) { return; }
  let image = task / p.groups;
  let width = p.channels / p.groups;
  let channel = task % p.groups * width;
  let entries = p.blocks * width;
  let base = image * p.blocks * p.channels + channel;
  let count = f32(p.rows) * f32(width);

  let near = moments[base].x;
  var apart = 0.0;
  for (var i = thread; i < entries; i += WG) {
    let block = i / width;
    let n = f32(min(p.block_rows, p.rows - block * p.block_rows));
    apart += n * (moments[base + block * p.channels + i % width].x - near);
  }
  let mean = near + sum_over_threads(vec2f(apart, 0.0), thread).x / count;

  var square = 0.0;
  for (var i = thread; i < entries; i += WG) {
    let block = i / width;
    let n = f32(min(p.block_rows, p.rows - block * p.block_rows));
    let part = moments[base + block * p.channels + i % width];
    let d = part.x - mean;
    square += part.y + n * d * d;
  }
  let deviation = sqrt(sum_over_threads(vec2f(square, 0.0), thread).x / count + p.eps);

  let refined = p.y_stride > 2 * p.channels;
  for (var c = channel + thread; c < channel + width; c += WG) {
    var scale = gamma[c] / deviation;
    // Only where x is as good as constant would the shift leave f16's range; any scale will do there.
    if (refined && abs(mean * scale) > 32768) { scale *= 32768 / abs(mean * scale); }
    let shift = beta[c] - mean * scale;
    let at = image * p.y_stride + c;
    y[at] = F(scale);
    y[at + p.channels] = F(shift);
    if (refined) {
      y[at + 2 * p.channels] = F(scale - f32(F(scale)));
      y[at + 3 * p.channels] = F(shift - f32(F(shift)));
    }
  }
}
