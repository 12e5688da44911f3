/**
 * The CPU backend: AssemblyScript kernels on one memory and a pool of threads.
 *
 * @module
 */
import type {
  Activation,
  AttentionOptions,
  Backend,
  ConvOptions,
  Epilogue,
  HostTensor,
  MatchOptions,
  MatchValues,
  MergePlan,
  NormWeight,
  PlanValues,
  Scoped,
  Tensor,
  Weight,
} from "../backend.ts";
import { builtin } from "../builtin.ts";
import * as rule from "../shape_rules.ts";
import { attention } from "./attention.ts";
import { conv2d } from "./conv.ts";
import { activation, blend, concat, copyRows, geglu, lincomb, stack, upsample } from "./elementwise.ts";
import { type HostedTensor, owned, WasmHost } from "./host.ts";
import { linear } from "./linear.ts";
import { canShareMemory, type KernelChoice, loadKernels } from "./module.ts";
import { affine, groupNorm, groupNormAffine, layerNorm } from "./norm.ts";
import { matrix } from "./runtime.ts";
import * as tome from "./tome.ts";
import { type WasmNormWeight, type WasmWeight, WeightStore } from "./weights.ts";

/**
 * What the CPU's kernels take; the other devices ignore it.
 *
 * @example
 * ```ts
 * import { type BackendOptions, createBackend } from "tome-edge";
 *
 * const options: BackendOptions = { threads: 1, kernels: "strict" };
 * const backend = await createBackend("cpu", options);
 * console.log(backend.description);
 * await backend.dispose();
 * ```
 */
export interface BackendOptions {
  /** Threads, this one included: 1 to 256, all cores by default. More than one needs shared memory. */
  threads?: number;
  /** `strict` gives the same bits on every engine; by default `fast` where the engine has relaxed SIMD. */
  kernels?: KernelChoice;
  /** A module of asm/pkg/, for places that cannot compile bytes. */
  module?: WebAssembly.Module;
  /** Bytes of weights to keep widened to f32 in the kernels' memory; 512 MiB by default. */
  residentBytes?: number;
}

export interface WasmOptions extends BackendOptions {
  /** Fills freed memory with NaN, for tests. */
  poison?: boolean;
  /** Ends the description: why it is this device. */
  note?: string;
}

const MAX_THREADS = 256;

/** Node 20 has no `navigator`. */
function cores(): number {
  const found = globalThis.navigator?.hardwareConcurrency ?? builtin("node:os")?.availableParallelism();
  return Math.min(found || 1, MAX_THREADS);
}

/** A `RangeError` for options out of range, a `DeviceError` where this place cannot run the kernels. */
export async function createWasmBackend(options: WasmOptions = {}): Promise<WasmBackend> {
  const { threads = cores(), residentBytes = 2 ** 29 } = options;
  if (!(Number.isInteger(threads) && threads >= 1 && threads <= MAX_THREADS)) {
    throw new RangeError(
      `Cannot start the CPU backend: expected 1 to ${MAX_THREADS} threads, found ${threads}`,
    );
  }
  if (!(residentBytes >= 0)) {
    throw new RangeError(
      `Cannot start the CPU backend: expected residentBytes of at least 0, found ${residentBytes}`,
    );
  }
  const { kernels } = options;
  if (kernels !== undefined && kernels !== "fast" && kernels !== "strict") {
    throw new RangeError(`Cannot start the CPU backend: expected kernels fast or strict, found ${kernels}`);
  }
  const shared = threads > 1 && canShareMemory();
  const instance = await loadKernels({ choice: kernels, shared, given: options.module, threads });
  const host = await WasmHost.start(instance, instance.shared ? threads : 1, options.poison ?? false);
  const alone = threads > 1 && !instance.shared ? " (no shared memory here)" : "";
  const description = `CPU, ${instance.choice} WebAssembly kernels, ${host.threads} thread${
    host.threads > 1 ? "s" : ""
  }${alone}${options.note ? ` (${options.note})` : ""}`;
  return new WasmBackend(host, new WeightStore(host, residentBytes), description);
}

/** Made by `createWasmBackend`. */
export class WasmBackend implements Backend {
  readonly device = "cpu";
  readonly description: string;
  /** For tests and benchmarks. */
  readonly host: WasmHost;
  readonly #weights: WeightStore;

  constructor(host: WasmHost, weights: WeightStore, description: string) {
    this.host = host;
    this.#weights = weights;
    this.description = description;
  }

  linearWeight(weights: readonly HostTensor[], biases?: readonly HostTensor[]): Weight {
    return this.#weights.linear(weights, biases);
  }

  convWeight(weight: HostTensor, bias?: HostTensor): Weight {
    return this.#weights.conv(weight, bias);
  }

  normWeight(weight: HostTensor, bias: HostTensor): NormWeight {
    return this.#weights.norm(weight, bias);
  }

  upload(data: Float32Array, shape: readonly number[]): Tensor {
    const x = this.host.alloc(rule.uploadRule(data, shape));
    this.host.f32.set(data, x.ptr / 4);
    return x;
  }

  read(x: Tensor): Promise<Float32Array> {
    const { ptr, stride } = this.#use(x);
    const { rows, cols } = matrix(x);
    const { f32 } = this.host;
    const values = new Float32Array(rows * cols);
    if (stride === cols) values.set(f32.subarray(ptr / 4, ptr / 4 + rows * cols));
    else {
      for (let r = 0; r < rows; r++) {
        const at = ptr / 4 + r * stride;
        values.set(f32.subarray(at, at + cols), r * cols);
      }
    }
    return Promise.resolve(values);
  }

  scope<T extends Scoped>(body: () => T): T {
    return this.host.scopes.run(body);
  }

  keep<T extends Tensor | MergePlan>(x: T): T {
    this.host.scopes.keep(x);
    return x;
  }

  free(x: Tensor | MergePlan): void {
    this.host.scopes.free(x);
  }

  peakBytes(reset = false): number {
    return this.host.scopes.peakBytes(reset);
  }

  rows(x: Tensor, from: number, to: number): Tensor {
    const { ptr, stride, storage } = this.#use(x);
    const shape = rule.rowsRule(x, from, to);
    const perImage = matrix(x).rows / x.shape[0];
    return { ptr: ptr + 4 * from * perImage * stride, shape, stride, storage, view: true } as HostedTensor;
  }

  columns(x: Tensor, from: number, to: number): Tensor {
    const { ptr, stride, storage } = this.#use(x);
    const shape = rule.columnsRule(x, from, to);
    return { ptr: ptr + 4 * from, shape, stride, storage, view: true } as HostedTensor;
  }

  reshape(x: Tensor, shape: readonly number[]): Tensor {
    return { ...this.#use(x), shape: rule.reshapeRule(x, shape), view: true } as HostedTensor;
  }

  empty(shape: readonly number[]): Tensor {
    return this.host.alloc(rule.emptyRule(shape));
  }

  write(target: Tensor, source: Tensor): void {
    rule.writeRule(target, source);
    copyRows(this.host, this.#use(target), this.#use(source));
  }

  linear(x: Tensor, w: Weight, options: Epilogue = {}): Tensor {
    return linear(this.host, this.#use(x), w as WasmWeight, this.#epilogue(options));
  }

  conv2d(x: Tensor, w: Weight, options: ConvOptions = {}): Tensor {
    return conv2d(this.host, this.#use(x), w as WasmWeight, this.#epilogue(options));
  }

  groupNorm(x: Tensor, w: NormWeight, options: { groups: number; eps: number; silu?: boolean }): Tensor {
    rule.groupNormRule(x, w, options);
    return groupNorm(this.host, this.#use(x), w as WasmNormWeight, options);
  }

  groupNormAffine(x: Tensor, w: NormWeight, options: { groups: number; eps: number }): Tensor {
    rule.groupNormAffineRule(x, w, options);
    return groupNormAffine(this.host, this.#use(x), w as WasmNormWeight, options);
  }

  affine(x: Tensor, scaleShift: Tensor, options: { silu?: boolean } = {}): Tensor {
    rule.affineRule(x, scaleShift);
    return affine(this.host, this.#use(x), this.#use(scaleShift), options);
  }

  layerNorm(x: Tensor, w: NormWeight, options: { eps: number }): Tensor {
    rule.layerNormRule(x, w, options);
    return layerNorm(this.host, this.#use(x), w as WasmNormWeight, options);
  }

  attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Tensor {
    rule.attentionRule(q, k, v, options);
    return attention(this.host, this.#use(q), this.#use(k), this.#use(v), options);
  }

  geglu(x: Tensor): Tensor {
    rule.gegluRule(x);
    return geglu(this.host, this.#use(x));
  }

  activation(x: Tensor, kind: Activation): Tensor {
    rule.activationRule(x, kind);
    return activation(this.host, this.#use(x), kind);
  }

  upsample(x: Tensor, height: number, width: number): Tensor {
    rule.upsampleRule(x, height, width);
    return upsample(this.host, this.#use(x), height, width);
  }

  concat(a: Tensor, b: Tensor): Tensor {
    rule.concatRule(a, b);
    return concat(this.host, this.#use(a), this.#use(b));
  }

  stack(parts: readonly Tensor[]): Tensor {
    rule.stackRule(parts);
    return stack(this.host, parts.map((x) => this.#use(x)));
  }

  lincomb(terms: readonly (readonly [coefficient: number, x: Tensor])[]): Tensor {
    rule.lincombRule(terms);
    return lincomb(this.host, terms.map(([coefficient, x]) => [coefficient, this.#use(x)] as const));
  }

  blend(mask: Tensor, a: Tensor, b: Tensor): Tensor {
    rule.blendRule(mask, a, b);
    return blend(this.host, this.#use(mask), this.#use(a), this.#use(b));
  }

  match(metric: Tensor, options: MatchOptions): MergePlan {
    return this.#plan(tome.match(this.host, this.#use(metric), options));
  }

  bestMatches(metric: Tensor, options: Omit<MatchOptions, "r">): Promise<MatchValues> {
    return Promise.resolve(tome.bestMatches(this.host, this.#use(metric), options));
  }

  planFrom(values: PlanValues, shape: { batch: number; tokens: number; merged: number }): MergePlan {
    return this.#plan(tome.planFrom(this.host, values, shape));
  }

  readPlan(plan: MergePlan): Promise<PlanValues> {
    this.host.scopes.use(plan);
    return Promise.resolve(tome.readPlan(this.host, plan));
  }

  merge(plan: MergePlan, x: Tensor): Tensor {
    this.host.scopes.use(plan);
    return tome.merge(this.host, plan, this.#use(x));
  }

  unmerge(plan: MergePlan, y: Tensor, residual?: Tensor): Tensor {
    this.host.scopes.use(plan);
    return tome.unmerge(this.host, plan, this.#use(y), residual && this.#use(residual));
  }

  dispose(): Promise<void> {
    return this.host.dispose();
  }

  /** The tensor, if it is one of this backend and not freed. */
  #use(x: Tensor): HostedTensor {
    this.host.scopes.use(x);
    return x as HostedTensor;
  }

  #epilogue<T extends Epilogue>(options: T): T {
    if (options.residual) this.#use(options.residual);
    if (options.rowBias) this.#use(options.rowBias);
    return options;
  }

  #plan(plan: tome.WasmMergePlan): MergePlan {
    return owned(plan, this.host.storageAt(plan.ptr));
  }
}
