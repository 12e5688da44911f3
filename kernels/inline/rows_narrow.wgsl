// Appended to kernels that read rows of `x`: one element at a time. See rows_wide.wgsl.

alias S = F;
alias V = f32;
const WIDTH = 1u;

/// Elements at..at+3 of x; zeros for those beyond the `left` (≥ 1) that the row still has.
fn four(at: u32, left: u32) -> vec4<f32> {
  var v = vec4(f32(x[at]), 0.0, 0.0, 0.0);
  if (left > 1u) { v.y = f32(x[at + 1u]); }
  if (left > 2u) { v.z = f32(x[at + 2u]); }
  if (left > 3u) { v.w = f32(x[at + 3u]); }
  return v;
}
