// matmul.wgsl's x at any offset, stride and number of channels.
@group(0) @binding(1) var<storage, read> x: array<F>;

// Elements at..at+3; those beyond `count` are not read, and zero.
fn x_at(at: u32, count: u32) -> vec4f {
  var v = vec4f(f32(x[at]), 0.0, 0.0, 0.0);
  if (count > 1u) { v.y = f32(x[at + 1u]); }
  if (count > 2u) { v.z = f32(x[at + 2u]); }
  if (count > 3u) { v.w = f32(x[at + 3u]); }
  return v;
}
