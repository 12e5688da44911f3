// The epilogue's operands where offsets, strides and columns are multiples of 4.
@group(0) @binding(EPILOGUE + 1) var<storage, read> residual: array<F4>;
@group(0) @binding(EPILOGUE + 2) var<storage, read> row_bias: array<F4>;
@group(0) @binding(EPILOGUE + 3) var<storage, read_write> out: array<F4>;

fn residual_at(at: u32, count: u32) -> vec4f {
  return vec4f(residual[at >> 2u]);
}

fn row_bias_at(at: u32, count: u32) -> vec4f {
  return vec4f(row_bias[at >> 2u]);
}

fn store(at: u32, v: vec4f, count: u32) {
  out[at >> 2u] = F4(v);
}
