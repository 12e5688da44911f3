// What matmul.wgsl and matvec.wgsl share: their Params, bindings 0, 2 and 3, and the epilogue
// out = act(sum + bias + rowBias) + residual. Needs activation.wgsl and y_vector.wgsl or y_scalar.wgsl.

struct Params {
  rows: u32,              // M
  cols: u32,              // N, of this part of the weight
  channels: u32,          // C
  side: u32,              // k
  height: i32,            // input pixels
  width: i32,
  out_width: u32,         // output pixels
  image_rows: u32,        // output pixels of an image
  step: i32,              // pixels between two outputs
  top: i32,               // pixels of zeros
  left: i32,
  x_offset: u32,          // elements, as all offsets and strides but w_stride
  x_stride: u32,
  w_stride: u32,          // vectors
  activation: u32,        // 0 none, 1 silu, 2 gelu, 3 quick_gelu
  bias_offset: u32,       // vectors
  out_offset: u32,
  out_stride: u32,
  has_residual: u32,      // 0 or 1
  residual_offset: u32,
  residual_stride: u32,
  has_row_bias: u32,      // 0 or 1
  row_bias_offset: u32,
  row_bias_stride: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> w: array<F4>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;

// Row m, columns n..n+3; those outside of the matrix are left out.
fn finish(m: u32, n: u32, sum: vec4f) {
  if (m >= p.rows || n >= p.cols) {
    return;
  }
  let count = p.cols - n;
  var v = sum + bias[p.bias_offset + (n >> 2u)];
  if (p.has_row_bias != 0u) {
    v += row_bias_at(p.row_bias_offset + m / p.image_rows * p.row_bias_stride + n, count);
  }
  v = activate(v, p.activation);
  if (p.has_residual != 0u) {
    v += residual_at(p.residual_offset + m * p.residual_stride + n, count);
  }
  store(p.out_offset + m * p.out_stride + n, v, count);
}
