// Appended to kernels that read rows of `x`: four elements at a time, where offsets, strides and channels are
// multiples of four. rows_narrow.wgsl is for all others.

alias S = F4;
alias V = vec4<f32>;
const WIDTH = 4u;

/// Elements at..at+3 of x.
fn four(at: u32, left: u32) -> vec4<f32> {
  return vec4<f32>(x[at / 4u]);
}
