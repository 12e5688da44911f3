import type { HostTensor } from "./backend.ts";

/** Elements `from` to `to` (exclusive) of a checkpoint tensor, as f32. */
export function widen(tensor: HostTensor, from: number, to: number): Float32Array {
  const size = tensor.dtype === "F32" ? 4 : 2;
  const bytes = tensor.data.slice(from * size, to * size); // a copy: a checkpoint's offsets need not be aligned
  if (tensor.dtype === "F32") return new Float32Array(bytes.buffer);
  const half = new Uint16Array(bytes.buffer);
  const bits = new Uint32Array(half.length);
  if (tensor.dtype === "BF16") { for (let i = 0; i < half.length; i++) bits[i] = half[i] << 16; }
  else for (let i = 0; i < half.length; i++) bits[i] = halfToFloatBits(half[i]);
  return new Float32Array(bits.buffer);
}

/** The bits of the f32 equal to an IEEE half. */
export function halfToFloatBits(h: number): number {
  const sign = (h & 0x8000) << 16, exponent = (h >> 10) & 31, fraction = h & 1023;
  if (exponent === 31) return (sign | 0x7f800000 | fraction << 13) >>> 0;
  if (exponent > 0) return (sign | (exponent + 112) << 23 | fraction << 13) >>> 0;
  if (fraction === 0) return sign >>> 0;
  const shift = Math.clz32(fraction) - 21; // a subnormal half is a normal float
  return (sign | (113 - shift) << 23 | (fraction << shift & 1023) << 13) >>> 0;
}

const pun = new Float32Array(1), punBits = new Uint32Array(pun.buffer);

/** The IEEE half nearest to the f32 of these bits, ties to even; infinite from 65520 on. */
export function floatToHalfBits(bits: number): number {
  const sign = bits >>> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) return sign | magnitude - 0x38000000 + 0xfff + (magnitude >>> 13 & 1) >>> 13;
  punBits[0] = magnitude; // below the normal halves: the last bit of 0.5 + x is worth as much as theirs
  pun[0] += 0.5;
  return sign | punBits[0] - 0x3f000000;
}

/** Halves nearest to f32 values. */
export function narrow(values: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) halves[i] = floatToHalfBits(bits[i]);
  return halves;
}
