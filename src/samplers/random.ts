/**
 * Seeded normal noise, as the generators draw it whose seeds people share: PyTorch's on the CPU and on CUDA.
 *
 * Tensors are drawn in NCHW order. All transcendentals come from `math.ts`, so a seed gives the same bits in every
 * engine.
 *
 * @module
 */
import { cos, log, sin } from "./math.ts";

/** A stream of standard normal numbers; each call goes on where the last one stopped. */
export interface NoiseSource {
  /** `count` numbers of mean 0 and variance 1, as one `torch.randn` of that many elements draws them. */
  randn(count: number): Float32Array;
}

/**
 * Whose random numbers a seed means: PyTorch's on the CPU (MT19937), or CUDA's (Philox).
 *
 * @example
 * ```ts
 * import { loadPipeline, type NoiseSourceName } from "tome-edge";
 *
 * const noise: NoiseSourceName = "philox";
 * const pipe = await loadPipeline();
 * await pipe.generate({ prompt: "a red apple", seed: 1, noise, width: 64, height: 64, steps: 2 });
 * await pipe.dispose();
 * ```
 */
export type NoiseSourceName = "cpu" | "philox";

const TWO_PI = 6.283185307179586;

/**
 * The Mersenne Twister with 32-bit output, seeded by one word.
 *
 * Source: Matsumoto and Nishimura, "Mersenne Twister", ACM TOMACS 8 (1998), initialisation of 2002.
 */
export class Mt19937 {
  readonly #state = new Uint32Array(624);
  #next = 624;

  constructor(seed: number) {
    let word = seed >>> 0;
    this.#state[0] = word;
    for (let i = 1; i < 624; i++) {
      word = (Math.imul(1812433253, word ^ (word >>> 30)) + i) >>> 0;
      this.#state[i] = word;
    }
  }

  /** The next word, 0 … 2^32 − 1. */
  next(): number {
    if (this.#next === 624) this.#twist();
    let y = this.#state[this.#next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    y ^= y >>> 18;
    return y >>> 0;
  }

  #twist(): void {
    const s = this.#state;
    for (let i = 0; i < 624; i++) {
      const y = (s[i] & 0x80000000) | (s[(i + 1) % 624] & 0x7fffffff);
      s[i] = s[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.#next = 0;
  }
}

/**
 * PyTorch's CPU generator: `torch.Generator().manual_seed(seed)` and f32 `torch.randn` from it, within 1e-6.
 *
 * Below 16 elements PyTorch draws doubles, two uniforms of 53 bits per pair of normals, and keeps the second normal
 * for later; from 16 on it fills the tensor with uniforms of 24 bits and turns blocks of 16 into normals, eight
 * cosines and eight sines, drawing the last 16 again if the count is no multiple of 16
 * (`aten/src/ATen/native/cpu/DistributionTemplates.h`, `ATen/core/DistributionsHelper.h`).
 */
export class TorchGenerator implements NoiseSource {
  readonly #engine: Mt19937;
  #spare: number | undefined;

  /** `seed`: an integer of 0 … 2^64 − 1, of which PyTorch uses the lower 32 bits. */
  constructor(seed: number | bigint) {
    this.#engine = new Mt19937(Number(checkSeed(seed) & 0xffffffffn));
  }

  randn(count: number): Float32Array {
    checkCount(count);
    const out = new Float32Array(count);
    if (count < 16) {
      for (let i = 0; i < count; i++) out[i] = this.#normal();
      return out;
    }
    this.#uniforms(out);
    for (let i = 0; i + 16 <= count; i += 16) boxMuller16(out, i);
    if (count % 16 !== 0) {
      const tail = out.subarray(count - 16);
      this.#uniforms(tail);
      boxMuller16(tail, 0);
    }
    return out;
  }

  #uniforms(out: Float32Array): void {
    for (let i = 0; i < out.length; i++) out[i] = (this.#engine.next() & 0xffffff) / 0x1000000;
  }

  /** 53 bits of two words, the first word being the upper one. */
  #uniform53(): number {
    const high = this.#engine.next() & 0x1fffff;
    return (high * 0x100000000 + this.#engine.next()) / 0x20000000000000;
  }

  #normal(): number {
    const spare = this.#spare;
    this.#spare = undefined;
    if (spare !== undefined) return spare;
    const theta = TWO_PI * this.#uniform53();
    // 1 − u is exact for a u of 53 bits, so this is log1p(−u).
    const radius = Math.sqrt(-2 * log(1 - this.#uniform53()));
    this.#spare = radius * sin(theta);
    return radius * cos(theta);
  }
}

/** Sixteen uniforms of [0, 1) to normals in place, each operation rounded to f32 as PyTorch's. */
function boxMuller16(data: Float32Array, at: number): void {
  const f = Math.fround;
  for (let i = at; i < at + 8; i++) {
    const radius = f(Math.sqrt(f(-2 * f(log(1 - data[i])))));
    const theta = f(f(TWO_PI) * data[i + 8]);
    data[i] = radius * f(cos(theta));
    data[i + 8] = radius * f(sin(theta));
  }
}

/**
 * Philox4x32 with 10 rounds: a 128-bit counter and a 64-bit key to four words.
 *
 * Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
 */
export function philox4x32(
  counter: readonly number[],
  key: readonly number[],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(c0, 0xd2511f53), low0 = Math.imul(c0, 0xd2511f53);
    const high1 = multiplyHigh(c2, 0xcd9e8d57), low1 = Math.imul(c2, 0xcd9e8d57);
    [c0, c1, c2, c3] = [high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0];
    k0 = (k0 + 0x9e3779b9) | 0;
    k1 = (k1 + 0xbb67ae85) | 0;
  }
  return [c0 >>> 0, c1 >>> 0, c2 >>> 0, c3 >>> 0];
}

/** The upper word of the 64-bit product of two unsigned words. */
function multiplyHigh(a: number, b: number): number {
  const al = a & 0xffff, ah = a >>> 16, bl = b & 0xffff, bh = b >>> 16;
  const middle = ah * bl + ((al * bl) >>> 16); // < 2^32
  const lower = al * bh + middle % 0x10000; // < 2^32
  return (ah * bh + Math.floor(middle / 0x10000) + Math.floor(lower / 0x10000)) | 0;
}

/**
 * PyTorch's CUDA generator, as AUTOMATIC1111's "NV" noise source computes it without a GPU: element i of the n-th
 * tensor comes from subsequence i at offset n, and is the first of the pair that cuRAND's Box–Muller gives.
 *
 * On a GPU this holds for tensors of up to as many elements as it has resident threads (196 608 on an RTX 4090,
 * latents of 1774² pixels); larger ones continue with the other three numbers of each subsequence, in an order that
 * depends on the GPU, and are not imitated. A GPU computes this in f32, so its numbers differ in the last digits.
 */
export class PhiloxGenerator implements NoiseSource {
  readonly #key: readonly [number, number];
  #offset = 0;

  /** `seed`: an integer of 0 … 2^64 − 1, all of it used. */
  constructor(seed: number | bigint) {
    const bits = checkSeed(seed);
    this.#key = [Number(bits & 0xffffffffn), Number(bits >> 32n)];
  }

  randn(count: number): Float32Array {
    checkCount(count);
    const out = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      const [x, y] = philox4x32([this.#offset, 0, i, 0], this.#key);
      const u = (x + 0.5) / 0x100000000;
      const v = (y + 0.5) / 0x100000000 * Math.fround(TWO_PI);
      out[i] = Math.sqrt(-2 * log(u)) * sin(v);
    }
    this.#offset++;
    return out;
  }
}

/** The noise source of that name, at the start of its stream. */
export function createNoiseSource(name: NoiseSourceName, seed: number | bigint): NoiseSource {
  if (name === "cpu") return new TorchGenerator(seed);
  if (name === "philox") return new PhiloxGenerator(seed);
  throw new RangeError(
    `Cannot draw noise: expected a source "cpu" or "philox", found ${JSON.stringify(name)}`,
  );
}

/** `torch.randn(count, generator=torch.Generator().manual_seed(seed))`. */
export function torchRandn(seed: number | bigint, count: number): Float32Array {
  return new TorchGenerator(seed).randn(count);
}

/** `torch.randn(count, device="cuda")` after `torch.manual_seed(seed)`; see `PhiloxGenerator`. */
export function philoxRandn(seed: number | bigint, count: number): Float32Array {
  return new PhiloxGenerator(seed).randn(count);
}

function checkSeed(seed: number | bigint): bigint {
  if (typeof seed !== "number" && typeof seed !== "bigint") {
    throw new TypeError(`Cannot seed the noise: expected a number or bigint, found ${describe(seed)}`);
  }
  const whole = typeof seed === "bigint" || Number.isSafeInteger(seed);
  if (!whole || seed < 0 || seed > 0xffffffffffffffffn) {
    throw new RangeError(
      `Cannot seed the noise: expected an integer of 0 to 2^64 - 1 (a bigint above 2^53 - 1), found ${seed}`,
    );
  }
  return BigInt(seed);
}

function checkCount(count: number): void {
  if (!Number.isSafeInteger(count) || count < 0) {
    throw new RangeError(`Cannot draw noise: expected a whole number of elements, found ${count}`);
  }
}

function describe(value: unknown): string {
  return value === null ? "null" : typeof value;
}
