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
import { type Handle, HostScopes, type Storage } from "../host_scopes.ts";
import * as rules from "../shape_rules.ts";

/**
 * Computes no numbers, only shapes and bytes, so that a forward pass can be counted at any size without its
 * time or its weights: the `data` of a `HostTensor` may be empty, `read` gives zeros, and a plan that is read
 * has rows of the right number but no meaning.
 */
export function createShapesBackend(): Backend & { largest: number } {
  return new ShapesBackend();
}

interface ShapeTensor extends Tensor, Handle {}
interface ShapePlan extends MergePlan, Handle {}
type GroupOptions = { groups: number; eps: number };

class ShapesBackend implements Backend {
  readonly device = "shapes";
  readonly description = "shapes only, no numbers";
  /** Elements of the largest tensor made since this was last set. */
  largest = 0;
  readonly #scopes = new HostScopes();

  linearWeight(weights: readonly HostTensor[], biases?: readonly HostTensor[]): Weight {
    return rules.linearWeightRule(weights, biases);
  }

  convWeight(weight: HostTensor, bias?: HostTensor): Weight {
    return rules.convWeightRule(weight, bias);
  }

  normWeight(weight: HostTensor, bias: HostTensor): NormWeight {
    return rules.normWeightRule(weight, bias);
  }

  // Memory.

  upload(data: Float32Array, shape: readonly number[]): Tensor {
    return this.#make(rules.uploadRule(data, shape));
  }

  // deno-lint-ignore require-await -- a misuse is a rejection here as on the devices that wait
  async read(x: Tensor): Promise<Float32Array> {
    this.#use(x);
    return new Float32Array(rules.sizeOf(x.shape));
  }

  scope<T extends Scoped>(body: () => T): T {
    return this.#scopes.run(body);
  }

  keep<T extends Tensor | MergePlan>(x: T): T {
    this.#scopes.keep(x);
    return x;
  }

  free(x: Tensor | MergePlan): void {
    this.#scopes.free(x);
  }

  peakBytes(reset?: boolean): number {
    return this.#scopes.peakBytes(reset);
  }

  rows(x: Tensor, from: number, to: number): Tensor {
    return this.#view(x, rules.rowsRule(x, from, to));
  }

  columns(x: Tensor, from: number, to: number): Tensor {
    return this.#view(x, rules.columnsRule(x, from, to));
  }

  reshape(x: Tensor, shape: readonly number[]): Tensor {
    return this.#view(x, rules.reshapeRule(x, shape));
  }

  empty(shape: readonly number[]): Tensor {
    return this.#make(rules.emptyRule(shape));
  }

  write(target: Tensor, source: Tensor): void {
    this.#use(target, source);
    rules.writeRule(target, source);
  }

  // Layers.

  linear(x: Tensor, w: Weight, options: Epilogue = {}): Tensor {
    this.#use(x, options.residual, options.rowBias);
    return this.#make(rules.linearRule(x, w, options));
  }

  conv2d(x: Tensor, w: Weight, options: ConvOptions = {}): Tensor {
    this.#use(x, options.residual, options.rowBias);
    return this.#make(rules.conv2dRule(x, w, options));
  }

  groupNorm(x: Tensor, w: NormWeight, options: GroupOptions): Tensor {
    this.#use(x);
    return this.#make(rules.groupNormRule(x, w, options));
  }

  groupNormAffine(x: Tensor, w: NormWeight, options: GroupOptions): Tensor {
    this.#use(x);
    return this.#make(rules.groupNormAffineRule(x, w, options));
  }

  affine(x: Tensor, scaleShift: Tensor): Tensor {
    this.#use(x, scaleShift);
    return this.#make(rules.affineRule(x, scaleShift));
  }

  layerNorm(x: Tensor, w: NormWeight, options: { eps: number }): Tensor {
    this.#use(x);
    return this.#make(rules.layerNormRule(x, w, options));
  }

  attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Tensor {
    this.#use(q, k, v);
    return this.#make(rules.attentionRule(q, k, v, options));
  }

  geglu(x: Tensor): Tensor {
    this.#use(x);
    return this.#make(rules.gegluRule(x));
  }

  activation(x: Tensor, kind: Activation): Tensor {
    this.#use(x);
    return this.#make(rules.activationRule(x, kind));
  }

  upsample(x: Tensor, height: number, width: number): Tensor {
    this.#use(x);
    return this.#make(rules.upsampleRule(x, height, width));
  }

  concat(a: Tensor, b: Tensor): Tensor {
    this.#use(a, b);
    return this.#make(rules.concatRule(a, b));
  }

  stack(parts: readonly Tensor[]): Tensor {
    this.#use(...parts);
    return this.#make(rules.stackRule(parts));
  }

  lincomb(terms: readonly (readonly [number, Tensor])[]): Tensor {
    this.#use(...terms.map(([, x]) => x));
    return this.#make(rules.lincombRule(terms));
  }

  blend(mask: Tensor, a: Tensor, b: Tensor): Tensor {
    this.#use(mask, a, b);
    return this.#make(rules.blendRule(mask, a, b));
  }

  // Token merging.

  match(metric: Tensor, options: MatchOptions): MergePlan {
    this.#use(metric);
    const { batch, tokens } = rules.matchRule(metric, options);
    return this.#makePlan({ batch, tokens, merged: options.r });
  }

  // deno-lint-ignore require-await -- as for `read`
  async bestMatches(metric: Tensor, options: Omit<MatchOptions, "r">): Promise<MatchValues> {
    this.#use(metric);
    const { batch, sources } = rules.bestMatchesRule(metric, options);
    return { nodeMax: new Float32Array(batch * sources), nodeIdx: new Int32Array(batch * sources) };
  }

  planFrom(values: PlanValues, shape: { batch: number; tokens: number; merged: number }): MergePlan {
    rules.planFromRule(values, shape);
    return this.#makePlan(shape);
  }

  // deno-lint-ignore require-await -- as for `read`
  async readPlan(plan: MergePlan): Promise<PlanValues> {
    this.#use(plan);
    const { batch, tokens, merged } = plan;
    return { rowOf: Int32Array.from({ length: batch * tokens }, (_, n) => n % tokens % (tokens - merged)) };
  }

  merge(plan: MergePlan, x: Tensor): Tensor {
    this.#use(plan, x);
    return this.#make(rules.mergeRule(plan, x));
  }

  unmerge(plan: MergePlan, y: Tensor, residual?: Tensor): Tensor {
    this.#use(plan, y, residual);
    return this.#make(rules.unmergeRule(plan, y, residual));
  }

  // deno-lint-ignore require-await -- as for `read`
  async dispose(): Promise<void> {
    this.#scopes.clear();
  }

  #use(...handles: (Tensor | MergePlan | undefined)[]): void {
    for (const x of handles) if (x) this.#scopes.use(x);
  }

  #storage(bytes: number): Storage {
    return this.#scopes.add({ bytes, owner: this.#scopes, live: true, poison() {} });
  }

  #make(shape: readonly number[]): ShapeTensor {
    this.largest = Math.max(this.largest, rules.sizeOf(shape));
    const storage = this.#storage(4 * rules.sizeOf(shape));
    return { shape, stride: shape[shape.length - 1], storage, view: false };
  }

  #view(x: Tensor, shape: readonly number[]): ShapeTensor {
    return { shape, stride: x.stride, storage: this.#scopes.use(x), view: true };
  }

  #makePlan({ batch, tokens, merged }: MergePlan): ShapePlan {
    return { batch, tokens, merged, storage: this.#storage(4 * batch * tokens), view: false };
  }
}
