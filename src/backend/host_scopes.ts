/**
 * Who owns what in the backends that keep their tensors as JavaScript objects (`reference`, `shapes`): nested
 * scopes, `keep`, `free` and the count of live bytes.
 *
 * @module
 */
import type { MergePlan, Scoped, Tensor } from "./backend.ts";

/** What a handle stands on; views share it. */
export interface Storage {
  readonly bytes: number;
  readonly owner: HostScopes;
  live: boolean;
  /** Called once, when the storage is freed. */
  poison(): void;
}

/** A tensor or plan of such a backend. `view` marks what `rows` and `columns` made. */
export interface Handle {
  readonly storage: Storage;
  readonly view: boolean;
}

export class HostScopes {
  readonly #open: Set<Storage>[] = [];
  /** Made outside any scope, or kept. */
  readonly #kept = new Set<Storage>();
  #bytes = 0;
  #peak = 0;

  add<S extends Storage>(storage: S): S {
    (this.#open.at(-1) ?? this.#kept).add(storage);
    this.#bytes += storage.bytes;
    this.#peak = Math.max(this.#peak, this.#bytes);
    return storage;
  }

  /** The storage of a handle that some operation is about to use. */
  use(x: Tensor | MergePlan): Storage {
    const storage = (x as unknown as Partial<Handle>).storage;
    if (storage?.owner !== this) {
      throw new TypeError(`Cannot use ${describe(x)}: expected one of this backend, found one of another`);
    }
    if (!storage.live) {
      throw new Error(`Cannot use ${describe(x)}: expected a live one, found one that was freed`);
    }
    return storage;
  }

  run<T extends Scoped>(body: () => T): T {
    const made = new Set<Storage>();
    this.#open.push(made);
    const escaping: Storage[] = [];
    try {
      const result = body();
      if (result instanceof Promise) {
        throw new TypeError("Cannot close a scope: expected a body that returns at once, found a promise");
      }
      for (const x of handlesOf(result)) escaping.push(this.use(x));
      return result;
    } finally {
      this.#open.pop();
      const outer = this.#open.at(-1) ?? this.#kept;
      for (const storage of escaping) if (made.delete(storage)) outer.add(storage);
      for (const storage of made) this.#release(storage);
    }
  }

  keep(x: Tensor | MergePlan): void {
    const storage = this.use(x);
    for (const scope of this.#open) scope.delete(storage);
    this.#kept.add(storage);
  }

  free(x: Tensor | MergePlan): void {
    const storage = this.use(x);
    if ((x as unknown as Handle).view) {
      throw new TypeError(`Cannot free ${describe(x)}: expected a tensor of its own, found a view`);
    }
    for (const scope of this.#open) scope.delete(storage);
    this.#kept.delete(storage);
    this.#release(storage);
  }

  peakBytes(reset = false): number {
    const peak = this.#peak;
    if (reset) this.#peak = this.#bytes;
    return peak;
  }

  clear(): void {
    for (const scope of [this.#kept, ...this.#open]) {
      for (const storage of scope) this.#release(storage);
      scope.clear();
    }
  }

  #release(storage: Storage): void {
    storage.live = false;
    storage.poison();
    this.#bytes -= storage.bytes;
  }
}

function handlesOf(result: Scoped): readonly (Tensor | MergePlan)[] {
  if (result === undefined || result === null) return [];
  const list = Array.isArray(result) ? result : [result];
  return list.filter((x) => x !== undefined);
}

function describe(x: Tensor | MergePlan): string {
  return "shape" in x ? `a tensor [${x.shape.join(", ")}]` : `a plan of ${x.tokens} tokens less ${x.merged}`;
}
