// The epilogue's operands at any offset, stride and number of columns; beyond `count` nothing is read or written.
@group(0) @binding(EPILOGUE + 1) var<storage, read> residual: array<F>;
@group(0) @binding(EPILOGUE + 2) var<storage, read> row_bias: array<F>;
@group(0) @binding(EPILOGUE + 3) var<storage, read_write> out: array<F>;

fn residual_at(at: u32, count: u32) -> vec4f {
  var v = vec4f(f32(residual[at]), 0.0, 0.0, 0.0);
  if (count > 1u) { v.y = f32(residual[at + 1u]); }
  if (count > 2u) { v.z = f32(residual[at + 2u]); }
  if (count > 3u) { v.w = f32(residual[at + 3u]); }
  return v;
}

fn row_bias_at(at: u32, count: u32) -> vec4f {
  var v = vec4f(f32(row_bias[at]), 0.0, 0.0, 0.0);
  if (count > 1u) { v.y = f32(row_bias[at + 1u]); }
  if (count > 2u) { v.z = f32(row_bias[at + 2u]); }
  if (count > 3u) { v.w = f32(row_bias[at + 3u]); }
  return v;
}

fn store(at: u32, v: vec4f, count: u32) {
  out[at] = F(v.x);
  if (count > 1u) { out[at + 1u] = F(v.y); }
  if (count > 2u) { out[at + 2u] = F(v.z); }
  if (count > 3u) { out[at + 3u] = F(v.w); }
}
