// Params of matmul.wgsl, matmul_sum.wgsl and matvec.wgsl.

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
  slices: u32,            // parts of the sum that different workgroups make
  slice_blocks: u32,      // blocks of BK channels of a slice
  column_tiles: u32,
  first_row: u32,         // of this dispatch
}

@group(0) @binding(0) var<uniform> p: Params;

// The slice of the sum that this workgroup makes.
var<private> slice: u32;
