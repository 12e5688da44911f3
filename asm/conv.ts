import { MR, product, splat } from "./gemm";

/**
 * Convolution as the product of gemm.ts, whose rows are gathered while they are packed: row m is output pixel
 * (b, y, x), column k is (ky, kx, ci). No matrix of neighbourhoods is stored.
 *
 * x [B, H, W, Cin] with a stride between pixels, W as panels of [k·k·Cin] rows, out [B·H'·W', Cout]. Pixels
 * outside the image are zeros.
 *
 * Words: 0 to 17 as in gemm.ts (M = B·H'·W', K = k·k·Cin, 1 x stride = elements between pixels), then 18 H, 19 W,
 * 20 Cin, 21 H', 22 W', 23 k, 24 stride, 25 pad top, 26 pad left.
 */
export function convTask(p: usize, task: i32, scratch: usize): void {
  product(p, task, scratch, true);
}

/** Pixels m..m+MR−1, k0..k1−1, as [k][MR][4]; pixels past the last one are zeros. */
export function packPixels(p: usize, m: i32, k0: i32, k1: i32, to: usize, zeros: usize): void {
  const x = <usize>load<u32>(p);
  const pixelBytes = <usize>load<u32>(p, 4) << 2;
  const pixels = load<i32>(p, 24);
  const height = load<i32>(p, 72);
  const width = load<i32>(p, 76);
  const cin = load<i32>(p, 80);
  const outHeight = load<i32>(p, 84);
  const outWidth = load<i32>(p, 88);
  const kernel = load<i32>(p, 92);
  const stride = load<i32>(p, 96);
  const padTop = load<i32>(p, 100);
  const padLeft = load<i32>(p, 104);
  for (let r = 0; r < MR; ++r, ++m) {
    const column = m % outWidth;
    const line = m / outWidth;
    const image = line / outHeight;
    const top = (line - image * outHeight) * stride - padTop;
    const left = column * stride - padLeft;
    let tap = k0 / cin;
    let channel = k0 - tap * cin;
    let at = to + (<usize>r << 4);
    for (let k = k0; k < k1;) {
      const n = min(cin - channel, k1 - k);
      const ky = tap / kernel;
      const y = top + ky;
      const xx = left + tap - ky * kernel;
      const inside = m < pixels && <u32>y < <u32>height && <u32>xx < <u32>width;
      const pixel = x + <usize>((image * height + y) * width + xx) * pixelBytes + (<usize>channel << 2);
      splat(inside ? pixel : zeros, n, at);
      at += <usize>(n * MR) << 4;
      k += n;
      channel = 0;
      ++tap;
    }
  }
}
