import { DeviceError } from "../../errors.ts";

/** Blocks start and end at cache lines, so that threads writing to two of them never share one. */
const LINE = 64;
const PAGE = 65536;
/** Least growth: few calls of `memory.grow`, each of which makes every view stale. */
const STEP = 16 * 2 ** 20;
const LIMIT = 2 ** 32;

/**
 * Gives out bytes of a WebAssembly memory from `base` to its end: best fit over a free list in address order,
 * neighbours joined when freed. A step of a model allocates some hundred blocks, far too few for the search to
 * show.
 */
export class Arena {
  readonly #memory: WebAssembly.Memory;
  readonly #poison: boolean;
  /** Free ranges [start, end), ascending, never adjacent. */
  readonly #free: [start: number, end: number][] = [];
  readonly #used = new Map<number, number>();
  #end: number;

  /** `poison` fills what is freed with NaN, so that a test sees who still reads it. */
  constructor(memory: WebAssembly.Memory, base: number, poison = false) {
    this.#memory = memory;
    this.#poison = poison;
    this.#end = memory.buffer.byteLength;
    const start = Math.ceil(base / LINE) * LINE;
    if (start < this.#end) this.#free.push([start, this.#end]);
    else this.#end = start;
  }

  /** Address of uninitialised bytes; a `DeviceError` when 4 GiB, or the machine, hold no more. */
  alloc(bytes: number): number {
    const size = Math.max(1, Math.ceil(bytes / LINE)) * LINE;
    let best = -1;
    for (let i = 0; i < this.#free.length; i++) {
      const length = this.#free[i][1] - this.#free[i][0];
      if (length >= size && (best < 0 || length < this.#free[best][1] - this.#free[best][0])) best = i;
    }
    if (best < 0) {
      this.#grow(size);
      best = this.#free.length - 1;
    }
    const range = this.#free[best];
    const at = range[0];
    range[0] += size;
    if (range[0] === range[1]) this.#free.splice(best, 1);
    this.#used.set(at, size);
    return at;
  }

  free(at: number): void {
    const size = this.#used.get(at);
    if (size === undefined) {
      throw new Error(`Cannot free address ${at}: expected an allocated block, found none`);
    }
    this.#used.delete(at);
    const end = at + size;
    if (this.#poison) new Float32Array(this.#memory.buffer, at, size / 4).fill(NaN);
    let low = 0;
    for (let high = this.#free.length; low < high;) {
      const middle = (low + high) >> 1;
      if (this.#free[middle][0] < at) low = middle + 1;
      else high = middle;
    }
    const before = this.#free[low - 1];
    const after = this.#free[low];
    if (before?.[1] === at && after?.[0] === end) {
      before[1] = after[1];
      this.#free.splice(low, 1);
    } else if (before?.[1] === at) before[1] = end;
    else if (after?.[0] === end) after[0] = at;
    else this.#free.splice(low, 0, [at, end]);
  }

  /** Live blocks, for tests that look for leaks. */
  get blocks(): number {
    return this.#used.size;
  }

  /** Makes the last free range at least `size` bytes long. */
  #grow(size: number): void {
    const last = this.#free.at(-1);
    const tail = last?.[1] === this.#end ? this.#end - last[0] : 0;
    const needed = size - tail;
    if (this.#end + needed > LIMIT) {
      throw new DeviceError(
        `Cannot allocate ${size} bytes: expected at most ${LIMIT} in all, the most that WebAssembly addresses, ` +
          `found ${this.#end} in use or in pieces too small`,
      );
    }
    const pages = (bytes: number) => Math.ceil((this.#end + bytes - this.#memory.buffer.byteLength) / PAGE);
    const generous = Math.min(Math.max(needed, STEP, this.#end >> 3), LIMIT - this.#end);
    try {
      this.#memory.grow(pages(generous));
    } catch {
      try {
        this.#memory.grow(pages(needed));
      } catch (cause) {
        throw new DeviceError(
          `Cannot allocate ${size} bytes: expected the memory to grow beyond ${this.#end} bytes, found it cannot`,
          { cause },
        );
      }
    }
    const end = this.#memory.buffer.byteLength;
    if (tail > 0) last![1] = end;
    else this.#free.push([this.#end, end]);
    this.#end = end;
  }
}
