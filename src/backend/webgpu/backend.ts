/**
 * The GPU backend: WGSL kernels through WebGPU, in f16 where the device has it.
 *
 * @module
 */
import { DeviceError } from "../../errors.ts";
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
import { narrow, widen } from "../half.ts";
import * as rule from "../shape_rules.ts";
import { findAdapter } from "./adapter.ts";
import { attention } from "./attention.ts";
import { conv2d } from "./conv.ts";
import { activation, blend, concat, copyRows, geglu, lincomb, stack, upsample } from "./elementwise.ts";
import { type GpuHost, type GpuHostOptions, type Hosted, span } from "./host.ts";
import { linear } from "./linear.ts";
import {
  affine,
  groupNorm,
  groupNormAffine,
  layerNorm,
  type NormParameters,
  normParameters,
} from "./norm.ts";
import { openHost } from "./open_host.ts";
import { type GpuTensor, matrix } from "./runtime.ts";
import { selfTest } from "./self_test.ts";
import * as tome from "./tome.ts";
import { convWeight, type GpuWeight, linearWeight } from "./weights.ts";

export interface WebgpuOptions extends Pick<GpuHostOptions, "poison" | "rewrite" | "readSeconds"> {
  /** Activations and weights in half precision; by default where the device can, a `DeviceError` where it cannot. */
  f16?: boolean;
  /** Reductions with subgroups; by default where the device has them and they give the right numbers. */
  subgroups?: boolean;
  /** Refuses adapters that compute on the CPU, which the WebAssembly kernels do faster. */
  realOnly?: boolean;
  /** Longest wait for an adapter, and for a device; half a minute by default. */
  startSeconds?: number;
  /** Where adapters come from; `navigator.gpu` or what stands in for it by default. */
  gpu?: GPU;
}

/** A `DeviceError` with the reason where there is no GPU, or one that gave wrong numbers. */
export async function createWebgpuBackend(options: WebgpuOptions = {}): Promise<WebgpuBackend> {
  const found = await findAdapter(options.gpu, options.startSeconds);
  if (options.realOnly && found.software) {
    throw new DeviceError(
      `Cannot start the GPU: expected a real one, found ${found.name}, which is software`,
    );
  }
  const able = found.adapter.features.has("shader-f16");
  const { f16 = able } = options;
  if (f16 && !able) throw new DeviceError(`Cannot start the GPU in f16: ${found.name} has no shader-f16`);
  const { host, subgroups } = await openHost(found, { ...options, f16 });
  const description = [
    "GPU",
    found.name,
    ...found.software ? ["software"] : [],
    subgroups,
    f16 ? "f16" : "f32",
  ];
  const backend = new WebgpuBackend(host, description.join(", "));
  try {
    await selfTest(backend);
    return backend;
  } catch (error) {
    await backend.dispose();
    throw error;
  }
}

type GpuNormWeight = NormWeight & NormParameters;
type HostedTensor = Hosted<GpuTensor>;

/** Made by `createWebgpuBackend`. */
export class WebgpuBackend implements Backend {
  readonly device = "gpu";
  readonly description: string;
  /** For tests and benchmarks. */
  readonly host: GpuHost;

  constructor(host: GpuHost, description: string) {
    this.host = host;
    this.description = description;
  }

  get maxElements(): number {
    return this.host.maxBytes / this.host.width;
  }

  get maxElementsReason(): string {
    return `${this.host.maxBytesName} = ${this.host.maxBytes} bytes`;
  }

  linearWeight(weights: readonly HostTensor[], biases?: readonly HostTensor[]): Weight {
    return linearWeight(this.host, weights, biases);
  }

  convWeight(weight: HostTensor, bias?: HostTensor): Weight {
    return convWeight(this.host, weight, bias);
  }

  normWeight(weight: HostTensor, bias: HostTensor): NormWeight {
    const found = rule.normWeightRule(weight, bias);
    rule.checkHostData(weight);
    rule.checkHostData(bias);
    const gamma = widen(weight, 0, found.channels), beta = widen(bias, 0, found.channels);
    return { ...found, ...normParameters(this.host, { name: found.name, gamma, beta }) } as GpuNormWeight;
  }

  upload(data: Float32Array, shape: readonly number[]): Tensor {
    const x = this.host.alloc(rule.uploadRule(data, shape));
    this.host.write(x, this.host.f16 ? narrow(data) : data);
    return x;
  }

  async read(x: Tensor): Promise<Float32Array> {
    const view = this.#use(x);
    const { rows, cols } = matrix(view);
    const bytes = new Uint8Array(await this.host.readBytes(view));
    const dtype = this.host.f16 ? "F16" : "F32";
    const held = widen({ name: "", dtype, shape: [], data: bytes }, 0, span(view));
    if (view.stride === cols || rows === 1) return held;
    const values = new Float32Array(rows * cols);
    for (let r = 0; r < rows; r++) {
      values.set(held.subarray(r * view.stride, r * view.stride + cols), r * cols);
    }
    return values;
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
    const peak = this.host.scopes.peakBytes(reset);
    if (reset) this.host.trim();
    return peak;
  }

  rows(x: Tensor, from: number, to: number): Tensor {
    const { buffer, offset, stride, storage } = this.#use(x);
    const shape = rule.rowsRule(x, from, to);
    const perImage = matrix(x).rows / x.shape[0];
    const view = { buffer, offset: offset + from * perImage * stride, shape, stride, storage, view: true };
    return view as HostedTensor;
  }

  columns(x: Tensor, from: number, to: number): Tensor {
    const { buffer, offset, stride, storage } = this.#use(x);
    const shape = rule.columnsRule(x, from, to);
    return { buffer, offset: offset + from, shape, stride, storage, view: true } as HostedTensor;
  }

  reshape(x: Tensor, shape: readonly number[]): Tensor {
    return { ...this.#use(x), shape: rule.reshapeRule(x, shape), view: true } as HostedTensor;
  }

  empty(shape: readonly number[]): Tensor {
    return this.host.alloc(rule.emptyRule(shape));
  }

  write(target: Tensor, source: Tensor): void {
    rule.writeRule(target, source);
    const to = this.#use(target), from = this.#use(source);
    if (to.buffer !== from.buffer) return copyRows(this.host, to, from);
    // A kernel cannot read and write one buffer.
    const copy = this.host.alloc(source.shape);
    copyRows(this.host, copy, from);
    copyRows(this.host, to, copy);
    this.host.release(copy);
  }

  linear(x: Tensor, w: Weight, options: Epilogue = {}): Tensor {
    return linear(this.host, this.#use(x), w as GpuWeight, this.#epilogue(options));
  }

  conv2d(x: Tensor, w: Weight, options: ConvOptions = {}): Tensor {
    return conv2d(this.host, this.#use(x), w as GpuWeight, this.#epilogue(options));
  }

  groupNorm(x: Tensor, w: NormWeight, options: { groups: number; eps: number; silu?: boolean }): Tensor {
    rule.groupNormRule(x, w, options);
    return groupNorm(this.host, this.#use(x), w as GpuNormWeight, options);
  }

  groupNormAffine(x: Tensor, w: NormWeight, options: { groups: number; eps: number }): Tensor {
    rule.groupNormAffineRule(x, w, options);
    return groupNormAffine(this.host, this.#use(x), w as GpuNormWeight, options);
  }

  affine(x: Tensor, scaleShift: Tensor, options: { silu?: boolean } = {}): Tensor {
    rule.affineRule(x, scaleShift);
    return affine(this.host, this.#use(x), this.#use(scaleShift), options);
  }

  layerNorm(x: Tensor, w: NormWeight, options: { eps: number }): Tensor {
    rule.layerNormRule(x, w, options);
    return layerNorm(this.host, this.#use(x), w as GpuNormWeight, options);
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
    return tome.bestMatches(this.host, this.#use(metric), options);
  }

  planFrom(values: PlanValues, shape: { batch: number; tokens: number; merged: number }): MergePlan {
    return this.#plan(tome.planFrom(this.host, values, shape));
  }

  async readPlan(plan: MergePlan): Promise<PlanValues> {
    this.host.scopes.use(plan);
    return await tome.readPlan(this.host, plan);
  }

  merge(plan: MergePlan, x: Tensor): Tensor {
    this.host.scopes.use(plan);
    return tome.merge(this.host, plan, this.#use(x));
  }

  unmerge(plan: MergePlan, y: Tensor, residual?: Tensor): Tensor {
    this.host.scopes.use(plan);
    return tome.unmerge(this.host, plan, this.#use(y), residual && this.#use(residual));
  }

  prepare(body: () => void): void {
    this.host.plan(body);
  }

  dispose(): Promise<void> {
    this.host.dispose();
    return Promise.resolve();
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

  #plan(plan: tome.GpuMergePlan): MergePlan {
    return this.host.bundle(plan, [plan.rowOf, plan.ends, plan.members]);
  }
}
