// What src/backend/webgpu/subgroups.ts asks a device before its subgroups are trusted: every thread's results of the
// texts in inline/*_subgroup.wgsl, which are appended, for integers that f32 holds exactly.
//
// y [WG, 8]: threads of its subgroup, its place there, sum_over_threads of (t, 1), scan of t (before, all; of 256
// threads only), row_max of t and of −t. Bindings: 1 y. One workgroup.

struct Params {
  row_max: u32, // 0 of workgroups that are no whole row
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

override WG: u32 = 256;

var<workgroup> probs: array<vec4f, 256>; // of row_max_workgroup.wgsl, where subgroups are less than a row

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) thread: u32) {
  let size = subgroupAdd(1u);
  let place = subgroupExclusiveAdd(1u);
  let value = f32(thread);
  let sum = sum_over_threads(vec2f(value, 1.0), thread);
  var numbers = vec2u();
  if (WG == THREADS) { numbers = scan(thread, thread); }
  var highest = vec4f();
  if (p.row_max != 0u) { highest = row_max(vec4f(value, -value, 0.0, 0.0), thread); }
  let to = 8u * thread;
  y[to] = f32(size);
  y[to + 1u] = f32(place);
  y[to + 2u] = sum.x;
  y[to + 3u] = sum.y;
  y[to + 4u] = f32(numbers.x);
  y[to + 5u] = f32(numbers.y);
  y[to + 6u] = highest.x;
  y[to + 7u] = highest.y;
}
