// Instead of an epilogue: a slice of a sum, f32 [slices, M, w_stride] vectors, for matmul_sum.wgsl.

@group(0) @binding(3) var<storage, read_write> partial: array<vec4f>;

// Row m, columns n..n+3; those outside of the matrix are left out.
fn finish(m: u32, n: u32, sum: vec4f) {
  if (m < p.rows && n < p.cols) {
    partial[(slice * p.rows + m) * p.w_stride + (n >> 2u)] = sum;
  }
}
