import type { Tensor } from "../backend.ts";
import { HostScopes, type Storage } from "../host_scopes.ts";
import { sizeOf } from "../shape_rules.ts";
import { BufferPool, type Pooled, USAGE } from "./pool.ts";
import { Recorder } from "./recorder.ts";
import type { Bound, GpuBytes, GpuRuntime, GpuTensor, Kernel } from "./runtime.ts";
import { sharedText, type Subgroups } from "./shared_text.ts";

export interface GpuHostOptions {
  /** F is f16. */
  f16: boolean;
  /** What kernels reduce with; through the workgroup's memory without. */
  subgroups?: Subgroups;
  /** Fills memory with NaN before it is used, for tests. */
  poison?: boolean;
  /** Longest wait for a result; ten minutes by default. */
  readSeconds?: number;
  /** Changes every kernel's source, for tests. */
  rewrite?: (source: string) => string;
}

/** A tensor or scratch of this backend, with what the scopes know of it. */
export type Hosted<T> = T & { readonly storage: Storage; readonly view: boolean };

/** A kernel's text on a device, and how many lines come before its own. */
function assemble(
  kernel: Kernel,
  { f16, subgroups, rewrite }: Pick<GpuHostOptions, "f16" | "subgroups"> & { rewrite: (s: string) => string },
): { code: string; before: number } {
  const shared = (kernel.shared ?? []).map((name) => sharedText(name, subgroups));
  const enable = shared.some(({ uses }) => uses) ? subgroups!.enable : "";
  const before = [
    ...enable ? [enable] : [],
    ...f16 ? ["enable f16;", "alias F = f16;"] : ["alias F = f32;"],
    "alias F4 = vec4<F>;",
  ];
  const text = [kernel.source, ...shared.map(({ text }) => text)].join("\n");
  return { code: `${before.join("\n")}\n${rewrite(text)}`, before: before.length };
}

/** Memory, scopes and the queue: what the operations of the WebGPU backend run on. */
export class GpuHost implements GpuRuntime {
  readonly f16: boolean;
  readonly subgroups: Subgroups | undefined;
  readonly limits: GPUSupportedLimits;
  readonly scopes = new HostScopes();
  readonly recorder: Recorder;
  readonly pool: BufferPool;
  readonly #poison: boolean;
  /** While `plan` runs: what would run, and memory that is none. */
  #plan: { readonly kernels: Set<Kernel>; readonly pool: BufferPool } | undefined;

  constructor(
    device: GPUDevice,
    { f16, subgroups, readSeconds, poison = false, rewrite = (source) => source }: GpuHostOptions,
  ) {
    this.f16 = f16;
    this.subgroups = subgroups;
    this.limits = device.limits;
    const assembled = (kernel: Kernel) => assemble(kernel, { f16, subgroups, rewrite });
    this.recorder = new Recorder(device, assembled, readSeconds);
    this.#poison = poison;
    const usage = USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST;
    this.pool = new BufferPool((bytes) => this.recorder.createBuffer(bytes, usage, "an activation"));
  }

  /** Bytes of an element of F. */
  get width(): 2 | 4 {
    return this.f16 ? 2 : 4;
  }

  /** The most bytes that one buffer can have and a kernel can see. */
  get maxBytes(): number {
    const { maxBufferSize, maxStorageBufferBindingSize } = this.limits;
    return Math.floor(Math.min(maxBufferSize, maxStorageBufferBindingSize) / 256) * 256;
  }

  /** The limit that sets `maxBytes`. */
  get maxBytesName(): string {
    const { maxBufferSize, maxStorageBufferBindingSize } = this.limits;
    return maxBufferSize < maxStorageBufferBindingSize ? "maxBufferSize" : "maxStorageBufferBindingSize";
  }

  alloc(shape: readonly number[]): Hosted<GpuTensor> {
    const { buffer, storage } = this.#block(sizeOf(shape) * this.width, `a tensor [${shape.join(", ")}]`);
    return { buffer, offset: 0, shape, stride: shape[shape.length - 1], storage, view: false };
  }

  allocBytes(bytes: number): Hosted<GpuBytes> {
    const { buffer, storage } = this.#block(bytes, "scratch");
    return { buffer, size: bytes, storage, view: false };
  }

  release(x: GpuTensor | GpuBytes): void {
    this.scopes.free(x as unknown as Tensor);
  }

  reserve(data: ArrayBufferView, label: string): GPUBuffer {
    const bytes = Math.ceil(data.byteLength / 16) * 16;
    this.#fits(bytes, label);
    const buffer = this.recorder.createBuffer(bytes, USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST, label);
    const { queue } = this.recorder.device;
    const whole = data.byteLength & ~3; // the queue copies words
    const from = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
    queue.writeBuffer(buffer, 0, from, 0, whole);
    if (whole < data.byteLength) {
      const rest = new Uint8Array(4);
      rest.set(from.subarray(whole));
      queue.writeBuffer(buffer, whole, rest);
    }
    return buffer;
  }

  run(
    kernel: Kernel,
    params: readonly number[],
    bound: readonly Bound[],
    [x, y = 1, z = 1]: readonly [number, number?, number?],
    work?: number,
  ): void {
    if (this.#plan) {
      this.#plan.kernels.add(kernel);
      return;
    }
    let bytes = 0;
    const buffers = bound.map((b) => {
      const buffer = "buffer" in b ? b.buffer : b;
      bytes += buffer.size;
      return buffer;
    });
    this.recorder.dispatch({
      kernel,
      params,
      buffers,
      groups: [x, y, z],
      work: work ?? bytes,
      about: () => bound.map(describe).join(", "),
    });
  }

  write(target: GpuBytes | GpuTensor, data: ArrayBufferView): void {
    if (this.#plan) return;
    const offset = "offset" in target ? target.offset * this.width : 0;
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    if (offset % 4 !== 0) {
      throw new RangeError(`Cannot write: expected an offset of whole words, found ${offset} bytes`);
    }
    if (bytes.length % 4 === 0) return this.recorder.write(target.buffer, offset, bytes);
    const padded = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
    padded.set(bytes);
    this.recorder.write(target.buffer, offset, padded);
  }

  async readBytes(source: GpuBytes | GpuTensor, from = 0, bytes?: number): Promise<ArrayBuffer> {
    if (this.#plan) throw new Error("Cannot read in a plan: nothing is computed there");
    const start = from + ("offset" in source ? source.offset * this.width : 0);
    const length = bytes ?? ("size" in source ? source.size : span(source) * this.width) - from;
    const first = start & ~3, last = Math.ceil((start + length) / 4) * 4;
    const words = await this.recorder.read(source.buffer, first, last - first);
    return first === start && last === start + length
      ? words
      : words.slice(start - first, start - first + length);
  }

  /** Makes one handle of several pieces of scratch: they live and die with it. */
  bundle<T extends object>(x: T, parts: readonly GpuBytes[]): T {
    const pieces = parts as readonly Hosted<GpuBytes>[];
    for (const piece of pieces) this.scopes.keep(piece as unknown as Tensor);
    const storage: Storage = {
      bytes: 0, // the pieces are counted
      owner: this.scopes,
      live: true,
      poison: () => pieces.filter((piece) => piece.storage.live).forEach((piece) => this.release(piece)),
    };
    return Object.assign(x, { storage: this.scopes.add(storage), view: false });
  }

  /** Has the kernels compiled that `body` runs, which computes nothing and takes no memory here. */
  plan(body: () => void): void {
    this.recorder.check();
    const kernels = new Set<Kernel>();
    const pool = new BufferPool((size) => ({ size, label: "on paper" }) as GPUBuffer);
    this.#plan = { kernels, pool };
    try {
      this.scopes.run(() => {
        body();
      });
    } finally {
      this.#plan = undefined;
    }
    this.recorder.compile(kernels);
  }

  /** Gives memory back that the last run did not need. */
  trim(): void {
    this.recorder.destroy(this.pool.trim().map(({ buffer }) => buffer));
  }

  dispose(): void {
    this.scopes.clear();
    this.recorder.dispose();
  }

  #fits(bytes: number, what: string): void {
    if (bytes > this.maxBytes) {
      throw new RangeError(
        `Cannot put ${what} on the GPU: expected at most ${this.maxBytes} bytes (${this.maxBytesName}), found ${bytes}`,
      );
    }
  }

  #block(bytes: number, what: string): { buffer: GPUBuffer; storage: Storage } {
    this.recorder.check();
    this.#fits(bytes, what);
    const pool = this.#plan?.pool ?? this.pool;
    const pooled = pool.take(bytes);
    if (!this.#plan) this.#spoil(pooled);
    const storage: Storage = {
      bytes,
      owner: this.scopes,
      live: true,
      poison: () => pool.give(pooled),
    };
    return { buffer: pooled.buffer, storage: this.scopes.add(storage) };
  }

  /** NaN in every element of a buffer about to be used, f16 or f32. */
  #spoil({ buffer, bytes }: Pooled): void {
    if (this.#poison) this.recorder.write(buffer, 0, new Uint8Array(bytes).fill(255));
  }
}

/** Elements from the first to the last of a tensor or view. */
export function span(x: Tensor): number {
  const cols = x.shape[x.shape.length - 1];
  return (sizeOf(x.shape) / cols - 1) * x.stride + cols;
}

function describe(x: Bound): string {
  if ("shape" in x) return `[${x.shape.join(", ")}]`;
  return "buffer" in x ? `${x.size} bytes` : x.label || `${x.size} bytes`;
}
