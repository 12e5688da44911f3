import { SCRATCH, SCRATCH_BYTES } from "../../../asm/layout.ts";
import { Op } from "../../../asm/op.ts";
import type { Tensor } from "../backend.ts";
import { HostScopes, type Storage } from "../host_scopes.ts";
import { sizeOf } from "../shape_rules.ts";
import { Arena } from "./memory.ts";
import type { Instance } from "./module.ts";
import { ThreadPool } from "./pool.ts";
import type { Runtime, WasmTensor } from "./runtime.ts";

/** A block of the arena, owned by a scope. */
interface Block extends Storage {
  readonly ptr: number;
}

/** A tensor of this backend: an address for the kernels, a block for the scopes. */
export interface HostedTensor extends WasmTensor {
  readonly storage: Storage;
  /** Made by `rows` or `columns`: not to be freed. */
  readonly view: boolean;
}

/** Values that one task of `Op.Widen` takes. */
const WIDEN_TASK = 32768;
/** f32 values that the window for streamed weights holds: small enough for the last-level cache. */
const WINDOW = 4 * 2 ** 20;

/** Memory, scopes and threads: what the operations of the wasm backend run on. */
export class WasmHost implements Runtime {
  readonly scopes = new HostScopes();
  readonly instance: Instance;
  readonly arena: Arena;
  readonly #pool: ThreadPool;
  readonly #blocks = new Map<number, Block>();
  #f32: Float32Array;
  #i32: Int32Array;
  #window: { half: number; wide: number; values: number } | undefined;

  private constructor(instance: Instance, pool: ThreadPool, poison: boolean) {
    this.instance = instance;
    this.#pool = pool;
    this.arena = new Arena(instance.memory, SCRATCH + pool.threads * SCRATCH_BYTES, poison);
    this.#f32 = new Float32Array(instance.memory.buffer);
    this.#i32 = new Int32Array(instance.memory.buffer);
  }

  static async start(instance: Instance, threads: number, poison: boolean): Promise<WasmHost> {
    return new WasmHost(instance, await ThreadPool.start(instance, threads), poison);
  }

  get threads(): number {
    return this.#pool.threads;
  }

  get f32(): Float32Array {
    this.#refresh();
    return this.#f32;
  }

  get i32(): Int32Array {
    this.#refresh();
    return this.#i32;
  }

  /** The two views differ from the memory's size only after it grew. */
  #refresh(): void {
    const { buffer } = this.instance.memory;
    if (this.#f32.buffer === buffer && this.#f32.byteLength === buffer.byteLength) return;
    this.#f32 = new Float32Array(buffer);
    this.#i32 = new Int32Array(buffer);
  }

  alloc(shape: readonly number[]): HostedTensor {
    const storage = this.#block(sizeOf(shape) * 4);
    return { ptr: storage.ptr, shape, stride: shape[shape.length - 1], storage, view: false };
  }

  allocBytes(bytes: number): number {
    return this.#block(bytes).ptr;
  }

  release(x: WasmTensor | number): void {
    const ptr = typeof x === "number" ? x : x.ptr;
    const storage = this.#blocks.get(ptr);
    if (!storage) throw new Error(`Cannot release address ${ptr}: expected a live block, found none`);
    this.scopes.free({ storage, view: false } as unknown as Tensor);
  }

  /** The block that starts at an address, for handles that wrappers make from `allocBytes`. */
  storageAt(ptr: number): Storage {
    return this.#blocks.get(ptr)!;
  }

  run(op: Op, tasks: number, words: readonly number[]): void {
    this.#pool.run(op, tasks, words);
  }

  /** Bytes outside any scope that nothing counts as activations: weights. Never freed. */
  reserve(bytes: number): number {
    return this.arena.alloc(bytes);
  }

  /** Writes half-precision values to an address as f32, through the window. */
  widen(from: Uint16Array, to: number): void {
    const { half, values } = this.window(0);
    for (let at = 0; at < from.length; at += values) {
      const count = Math.min(values, from.length - at);
      const staged = new Uint16Array(this.instance.memory.buffer, half, count);
      staged.set(from.subarray(at, at + count));
      this.run(Op.Widen, Math.ceil(count / WIDEN_TASK), [half, to + at * 4, count]);
    }
  }

  /** Space for `values` f32 at least, and as many halves. */
  window(values: number): { half: number; wide: number; values: number } {
    if (!this.#window || this.#window.values < values) {
      if (this.#window) {
        this.arena.free(this.#window.half);
        this.arena.free(this.#window.wide);
      }
      const size = Math.max(values, WINDOW);
      this.#window = { half: this.reserve(size * 2), wide: this.reserve(size * 4), values: size };
    }
    return this.#window;
  }

  #block(bytes: number): Block {
    const ptr = this.arena.alloc(bytes);
    const block: Block = {
      ptr,
      bytes,
      owner: this.scopes,
      live: true,
      poison: () => {
        this.#blocks.delete(ptr);
        this.arena.free(ptr);
      },
    };
    this.#blocks.set(ptr, block);
    return this.scopes.add(block);
  }

  async dispose(): Promise<void> {
    this.scopes.clear();
    await this.#pool.dispose();
  }
}

/** A plan or tensor with the block that its scope owns. */
export function owned<T extends object>(x: T, storage: Storage): T & { storage: Storage; view: boolean } {
  return Object.assign(x, { storage, view: false });
}
