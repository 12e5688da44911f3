import type { HostTensor } from "../../src/backend/backend.ts";
import { randomArray } from "./random.ts";

/** f32 values as a checkpoint holds them. */
export function hostTensor(name: string, shape: readonly number[], values: Float32Array): HostTensor {
  return { name, dtype: "F32", shape, data: new Uint8Array(values.slice().buffer) };
}

/** Seeded values; half precision is rounded towards zero. */
export function randomHost(
  name: string,
  shape: readonly number[],
  { seed, dtype = "F32", gain = 1 }: { seed: number; dtype?: HostTensor["dtype"]; gain?: number },
): HostTensor {
  const size = shape.reduce((a, n) => a * n, 1);
  const values = randomArray(size, seed).map((v) => v * gain);
  if (dtype === "F32") return hostTensor(name, shape, values);
  const bits = new Uint32Array(values.buffer);
  const halves = Uint16Array.from(bits, dtype === "BF16" ? (b) => b >>> 16 : truncatedHalf);
  return { name, dtype, shape, data: new Uint8Array(halves.buffer) };
}

/** The IEEE half next to an f32 towards zero; what is too small for a normal half becomes zero. */
function truncatedHalf(bits: number): number {
  const exponent = ((bits >>> 23) & 255) - 112;
  const sign = (bits >>> 16) & 0x8000;
  return exponent <= 0 ? sign : sign | (exponent << 10) | ((bits >>> 13) & 1023);
}
