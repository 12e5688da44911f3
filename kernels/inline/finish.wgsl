// The epilogue of a product: out = act(sum + bias + rowBias) + residual. Needs activation.wgsl and y_vector.wgsl or
// y_scalar.wgsl; its bindings begin at the kernel's constant EPILOGUE.

@group(0) @binding(EPILOGUE) var<storage, read> bias: array<vec4f>;

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
