import type { Backend, Tensor } from "../backend/backend.ts";

/** Tensors that outlive a step: whatever is not held anew is freed. Made outside any scope. */
export class Held {
  #tensors = new Set<Tensor>();

  constructor(readonly backend: Backend) {}

  get tensors(): Tensor[] {
    return [...this.#tensors];
  }

  add(x: Tensor): Tensor {
    this.#tensors.add(x);
    return x;
  }

  hold(tensors: readonly Tensor[]): void {
    const next = new Set(tensors);
    for (const x of this.#tensors) if (!next.has(x)) this.backend.free(x);
    this.#tensors = next;
  }
}
