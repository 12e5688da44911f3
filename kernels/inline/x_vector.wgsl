// matmul.wgsl's x where offset, stride and channels are multiples of 4.
@group(0) @binding(1) var<storage, read> x: array<F4>;

// Elements at..at+3; `count` of them, at least 4, lie in the row.
fn x_at(at: u32, count: u32) -> vec4f {
  return vec4f(x[at >> 2u]);
}
