import assert from "node:assert/strict";
import { PARAMS, SCRATCH } from "../../asm/layout.ts";
import { Op } from "../../asm/op.ts";
import { WasmHost } from "../../src/backend/wasm/host.ts";
import { type Instance, type KernelChoice, loadKernels } from "../../src/backend/wasm/module.ts";
import { matrix, type Runtime, type WasmTensor } from "../../src/backend/wasm/runtime.ts";

const BAND = 16;
/** Of a band, by position: a stray copy, or the activation of what a stray read found, is another value. */
const sentinel = (at: number) => -0.5 - (at % 1009) / 8;

/** A runtime whose every allocation lies between guard bands and is full of NaN. */
export class GuardedRuntime implements Runtime {
  readonly #host: WasmHost;
  readonly #instance: Instance;
  readonly #reverse: boolean;
  readonly #live: { ptr: number; values: number }[] = [];

  private constructor(instance: Instance, host: WasmHost, reverse: boolean) {
    this.#instance = instance;
    this.#host = host;
    this.#reverse = reverse;
  }

  /** `reverse`: on one thread, the last task first. */
  static async start(
    { choice, threads = 1, reverse = false }: { choice: KernelChoice; threads?: number; reverse?: boolean },
  ): Promise<GuardedRuntime> {
    const instance = await loadKernels({ choice, shared: threads > 1, threads });
    return new GuardedRuntime(instance, await WasmHost.start(instance, threads, true), reverse);
  }

  get threads(): number {
    return this.#host.threads;
  }
  get f32(): Float32Array {
    return this.#host.f32;
  }
  get i32(): Int32Array {
    return this.#host.i32;
  }

  alloc(shape: readonly number[]): WasmTensor {
    const values = shape.reduce((a, n) => a * n, 1);
    return { ptr: this.allocBytes(values * 4), shape, stride: shape[shape.length - 1] };
  }

  allocBytes(bytes: number): number {
    const values = Math.ceil(bytes / 4);
    const start = this.#host.allocBytes((values + 2 * BAND) * 4) >> 2;
    const memory = this.f32;
    memory.fill(NaN, start + BAND, start + BAND + values);
    for (let i = 0; i < BAND; i++) {
      memory[start + i] = sentinel(start + i);
      memory[start + BAND + values + i] = sentinel(start + BAND + values + i);
    }
    const ptr = (start + BAND) * 4;
    this.#live.push({ ptr, values });
    return ptr;
  }

  release(x: WasmTensor | number): void {
    const ptr = typeof x === "number" ? x : x.ptr;
    const at = this.#live.findIndex((block) => block.ptr === ptr);
    assert.notEqual(at, -1, "released what was not allocated");
    this.#check(this.#live[at]);
    this.#live.splice(at, 1);
    this.#host.release(ptr - BAND * 4);
  }

  run(op: Op, tasks: number, words: readonly number[]): void {
    if (!this.#reverse) return this.#host.run(op, tasks, words);
    this.i32.set(words, PARAMS >> 2);
    const name = `${Op[op][0].toLowerCase()}${Op[op].slice(1)}Task`;
    const kernel = (this.#instance.kernels as unknown as Record<string, (...words: number[]) => void>)[name];
    for (let task = tasks - 1; task >= 0; task--) kernel(PARAMS, task, SCRATCH);
  }

  /** Rows `stride` apart; between them NaN, which shows in the result if it is read. */
  tensor(values: ArrayLike<number>, shape: readonly number[], gap = 0): WasmTensor {
    const { rows, cols } = matrix({ shape, stride: 0 });
    const stride = cols + gap;
    const { ptr } = this.alloc([rows * stride]);
    const memory = this.f32;
    for (let i = 0; i < rows * cols; i++) {
      memory[(ptr >> 2) + Math.floor(i / cols) * stride + (i % cols)] = values[i];
    }
    return { ptr, shape, stride };
  }

  /** The values of a tensor without gaps. */
  values(x: WasmTensor): Float32Array {
    const { rows, cols } = matrix(x);
    assert.equal(x.stride, cols, "the result has no gaps");
    return this.f32.slice(x.ptr >> 2, (x.ptr >> 2) + rows * cols);
  }

  /** Looks at every band, then frees everything. */
  clear(): void {
    while (this.#live.length > 0) this.release(this.#live[0].ptr);
  }

  async dispose(): Promise<void> {
    this.clear();
    await this.#host.dispose();
  }

  #check({ ptr, values }: { ptr: number; values: number }): void {
    const memory = this.f32, start = ptr >> 2, end = start + values;
    for (let i = 0; i < BAND; i++) {
      const before = start - 1 - i;
      assert.equal(memory[before], sentinel(before), `wrote ${i + 1} values before a tensor`);
      assert.equal(memory[end + i], sentinel(end + i), `wrote ${i + 1} values after a tensor`);
    }
  }
}

/** Reproducible values, roughly normal. */
export function normals(count: number, seed: number, { mean = 0, deviation = 1 } = {}): Float32Array {
  let state = (seed * 2654435761 + 12345) >>> 0;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return Float32Array.from(
    { length: count },
    () => mean + deviation * (uniform() + uniform() + uniform() + uniform() - 2) * Math.sqrt(3),
  );
}

/** Fails with the largest excess of |found − expected| over the tolerance, and where it is. */
export function assertClose(
  found: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number | ((i: number) => number),
  what: string,
): void {
  assert.equal(found.length, expected.length, `${what}: length`);
  let worst = -1, excess = 1;
  for (let i = 0; i < found.length; i++) {
    const allowed = typeof tolerance === "number" ? tolerance : tolerance(i);
    const ratio = Object.is(found[i], expected[i]) ? 0 : Math.abs(found[i] - expected[i]) / allowed;
    if (!(ratio <= excess)) {
      worst = i;
      excess = ratio;
    }
  }
  assert.equal(
    worst,
    -1,
    `${what}: [${worst}] is ${found[worst]}, expected ${expected[worst]}, ${excess} times the tolerance`,
  );
}

/** Fails unless both hold the same bits. */
export function assertSameBits(found: Float32Array, expected: Float32Array, what: string): void {
  assert.equal(found.length, expected.length, `${what}: length`);
  const a = new Uint32Array(found.buffer, found.byteOffset, found.length);
  const b = new Uint32Array(expected.buffer, expected.byteOffset, expected.length);
  const at = a.findIndex((bits, i) => bits !== b[i]);
  assert.equal(at, -1, `${what}: [${at}] is ${found[at]}, expected the bits of ${expected[at]}`);
}

/** FNV-1a of the bits: a pin for what is the same on every engine. */
export function bitsHash(values: Float32Array): string {
  let hash = 0x811c9dc5;
  for (const byte of new Uint8Array(values.buffer, values.byteOffset, values.byteLength)) {
    hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  }
  return hash.toString(16).padStart(8, "0");
}
