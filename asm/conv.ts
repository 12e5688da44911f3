import { MR, packFive, product } from "./gemm";

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

/**
 * Pixels m..m+4, k0..k1−1, packed as gemm.ts wants them; pixels past the last one are zeros. `room` starts with
 * 640 zeros; each pixel's top row, left column and image follow.
 */
export function packPixels(p: usize, m: i32, k0: i32, k1: i32, to: usize, room: usize): void {
  const pixels = load<i32>(p, 24);
  const cin = load<i32>(p, 80);
  const outHeight = load<i32>(p, 84);
  const outWidth = load<i32>(p, 88);
  const kernel = load<i32>(p, 92);
  const stride = load<i32>(p, 96);
  const padTop = load<i32>(p, 100);
  const padLeft = load<i32>(p, 104);
  const places = room + 640 * 4;
  for (let r = 0, at = places; r < MR; ++r, ++m, at += 12) {
    const line = m / outWidth;
    const image = line / outHeight;
    store<i32>(at, m < pixels ? (line - image * outHeight) * stride - padTop : i32.MIN_VALUE / 2);
    store<i32>(at, (m - line * outWidth) * stride - padLeft, 4);
    store<i32>(at, image, 8);
  }
  let tap = k0 / cin;
  let channel = k0 - tap * cin;
  for (let k = k0; k < k1;) {
    const n = min(cin - channel, k1 - k);
    const ky = tap / kernel;
    const kx = tap - ky * kernel;
    packFive(
      pixel(p, places, ky, kx, channel, room),
      pixel(p, places + 12, ky, kx, channel, room),
      pixel(p, places + 24, ky, kx, channel, room),
      pixel(p, places + 36, ky, kx, channel, room),
      pixel(p, places + 48, ky, kx, channel, room),
      n,
      to,
    );
    to += <usize>n << 5;
    k += n;
    channel = 0;
    ++tap;
  }
}

/** Address of a channel of the input pixel that a tap sees, or of zeros. */
function pixel(p: usize, place: usize, ky: i32, kx: i32, channel: i32, zeros: usize): usize {
  const height = load<i32>(p, 72);
  const width = load<i32>(p, 76);
  const y = load<i32>(place) + ky;
  const x = load<i32>(place, 4) + kx;
  if (<u32>y >= <u32>height || <u32>x >= <u32>width) return zeros;
  const at = (load<i32>(place, 8) * height + y) * width + x;
  return <usize>load<u32>(p) + <usize>at * (<usize>load<u32>(p, 4) << 2) + (<usize>channel << 2);
}
