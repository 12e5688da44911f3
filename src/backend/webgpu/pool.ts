/** GPUBufferUsage and GPUMapMode, which not every runtime defines. */
export const USAGE = { MAP_READ: 1, COPY_SRC: 4, COPY_DST: 8, UNIFORM: 64, STORAGE: 128 } as const;
export const MAP_READ = 1;

/** A buffer of the pool. */
export interface Pooled {
  readonly buffer: GPUBuffer;
  /** Its place among all that the pool ever made. */
  readonly id: number;
  readonly bytes: number;
  /** The period in which it was last handed out. */
  used: number;
}

const SMALLEST = 256;

/** Bytes rounded up to an eighth of a power of two: at most an eighth is wasted, and few sizes occur. */
export function sizeClass(bytes: number): number {
  const step = Math.max(SMALLEST, 2 ** (Math.floor(Math.log2(Math.max(1, bytes))) - 3));
  return Math.ceil(bytes / step) * step;
}

/**
 * Buffers by size, reused. Of the free ones of a size the oldest is handed out, so that what a step gets
 * depends only on which are free: the same step again gets the same buffers, and its bind groups are found again.
 * A step makes as many buffers of a size as it holds at once, the next step none.
 */
export class BufferPool {
  readonly #create: (bytes: number) => GPUBuffer;
  readonly #free = new Map<number, Pooled[]>();
  #made = 0;
  #period = 0;
  #bytes = 0;

  constructor(create: (bytes: number) => GPUBuffer) {
    this.#create = create;
  }

  /** Bytes of all buffers, in use or not. */
  get bytes(): number {
    return this.#bytes;
  }

  take(bytes: number): Pooled {
    const size = sizeClass(bytes);
    const list = this.#free.get(size);
    if (!list?.length) {
      this.#bytes += size;
      return { buffer: this.#create(size), id: this.#made++, bytes: size, used: this.#period };
    }
    const oldest = list.reduce((best, x, i) => x.id < list[best].id ? i : best, 0);
    const [found] = list.splice(oldest, 1);
    found.used = this.#period;
    return found;
  }

  give(x: Pooled): void {
    const list = this.#free.get(x.bytes);
    if (list) list.push(x);
    else this.#free.set(x.bytes, [x]);
  }

  /** Begins a period; free buffers that the one before did not need are taken out and returned, to be destroyed. */
  trim(): Pooled[] {
    const idle: Pooled[] = [];
    for (const [size, list] of this.#free) {
      idle.push(...list.filter((x) => x.used < this.#period));
      this.#free.set(size, list.filter((x) => x.used === this.#period));
    }
    for (const x of idle) this.#bytes -= x.bytes;
    this.#period++;
    return idle;
  }
}
