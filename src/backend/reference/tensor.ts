import type { MergePlan, NormWeight, Tensor, Weight } from "../backend.ts";
import type { Handle, HostScopes, Storage } from "../host_scopes.ts";
import { sizeOf } from "../shape_rules.ts";

/** Freed memory reads as NaN, so that whatever still looks at it shows. */
export class RefStorage implements Storage {
  live = true;
  readonly data: Float32Array;

  constructor(readonly owner: HostScopes, data: Float32Array) {
    this.data = data;
  }

  get bytes(): number {
    return this.data.byteLength;
  }

  poison(): void {
    this.data.fill(NaN);
  }
}

export class RefTensor implements Tensor, Handle {
  readonly shape: readonly number[];
  readonly stride: number;
  readonly storage: RefStorage;
  readonly view: boolean;
  /** Element where the first row starts. */
  readonly offset: number;

  constructor(storage: RefStorage, shape: readonly number[], view?: { offset: number; stride: number }) {
    this.storage = storage;
    this.shape = shape;
    this.view = view !== undefined;
    this.offset = view?.offset ?? 0;
    this.stride = view?.stride ?? shape[shape.length - 1];
  }

  get cols(): number {
    return this.shape[this.shape.length - 1];
  }

  get rows(): number {
    return sizeOf(this.shape) / this.cols;
  }

  /** Row i of the matrix, shared with the tensor. */
  row(i: number): Float32Array {
    const at = this.offset + i * this.stride;
    return this.storage.data.subarray(at, at + this.cols);
  }
}

export class RefPlanStorage implements Storage {
  live = true;
  constructor(readonly owner: HostScopes, readonly rowOf: Int32Array) {}

  get bytes(): number {
    return this.rowOf.byteLength;
  }

  poison(): void {
    this.rowOf.fill(-1);
  }
}

export interface RefPlan extends MergePlan, Handle {
  readonly storage: RefPlanStorage;
}

export interface RefWeight extends Weight {
  /** `[k, k, cin, cout]`: the outputs of one input lie side by side. */
  readonly values: Float32Array;
  /** `[cout]`, zeros where there is none. */
  readonly bias: Float32Array;
}

export interface RefNormWeight extends NormWeight {
  readonly scale: Float32Array;
  readonly shift: Float32Array;
}
