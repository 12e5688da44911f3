/** Rows of a pre-splatted strip. Without a fused multiply-add, six need more registers than x64 has. */
// @ts-ignore: decorator
@inline
export const MR: i32 = ASC_FEATURE_RELAXED_SIMD ? 6 : 4;

/** Writes n floats as vectors of four equal lanes, MR vectors apart. */
export function splat(from: usize, n: i32, to: usize): void {
  const end = from + (<usize>(n & ~3) << 2);
  while (from < end) {
    const v = v128.load(from);
    v128.store(to, v128.shuffle<f32>(v, v, 0, 0, 0, 0));
    v128.store(to + MR * 16, v128.shuffle<f32>(v, v, 1, 1, 1, 1));
    v128.store(to + MR * 32, v128.shuffle<f32>(v, v, 2, 2, 2, 2));
    v128.store(to + MR * 48, v128.shuffle<f32>(v, v, 3, 3, 3, 3));
    from += 16;
    to += MR * 64;
  }
  for (let i = n & 3; i > 0; --i) {
    v128.store(to, v128.load32_splat(from));
    from += 4;
    to += MR * 16;
  }
}
