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
import { widen } from "../half.ts";
import { HostScopes } from "../host_scopes.ts";
import * as rules from "../shape_rules.ts";
import * as layers from "./layers.ts";
import {
  type RefNormWeight,
  type RefPlan,
  RefPlanStorage,
  RefStorage,
  RefTensor,
  type RefWeight,
} from "./tensor.ts";
import * as tome from "./tome.ts";

/** Plain scalar TypeScript, the oracle of the tests: sums in f64, results in f32; never for production. */
export function createReferenceBackend(): Backend {
  return new ReferenceBackend();
}

class ReferenceBackend implements Backend {
  readonly device = "reference";
  readonly description = "scalar TypeScript, sums in f64";
  readonly #scopes = new HostScopes();

  // Weights.

  linearWeight(weights: readonly HostTensor[], biases?: readonly HostTensor[]): RefWeight {
    const rule = rules.linearWeightRule(weights, biases);
    const { cin, cout } = rule;
    const values = new Float32Array(cin * cout), bias = new Float32Array(cout);
    let first = 0;
    for (const [part, w] of weights.entries()) {
      const matrix = hostValues(w);
      for (let o = 0; o < w.shape[0]; o++) {
        for (let i = 0; i < cin; i++) values[i * cout + first + o] = matrix[o * cin + i];
      }
      if (biases) bias.set(hostValues(biases[part]), first);
      first += w.shape[0];
    }
    return { ...rule, values, bias };
  }

  convWeight(weight: HostTensor, bias?: HostTensor): RefWeight {
    const rule = rules.convWeightRule(weight, bias);
    const { cin, cout, kernel } = rule, taps = kernel * kernel;
    const source = hostValues(weight), values = new Float32Array(source.length);
    for (let o = 0; o < cout; o++) {
      for (let i = 0; i < cin; i++) {
        for (let tap = 0; tap < taps; tap++) {
          values[(tap * cin + i) * cout + o] = source[(o * cin + i) * taps + tap];
        }
      }
    }
    return { ...rule, values, bias: bias ? hostValues(bias) : new Float32Array(cout) };
  }

  normWeight(weight: HostTensor, bias: HostTensor): RefNormWeight {
    return { ...rules.normWeightRule(weight, bias), scale: hostValues(weight), shift: hostValues(bias) };
  }

  // Memory.

  upload(data: Float32Array, shape: readonly number[]): RefTensor {
    const checked = rules.uploadRule(data, shape);
    return new RefTensor(this.#scopes.add(new RefStorage(this.#scopes, data.slice())), checked);
  }

  // deno-lint-ignore require-await -- a misuse is a rejection here as on the devices that wait
  async read(x: Tensor): Promise<Float32Array> {
    const from = this.#use(x);
    const values = new Float32Array(from.rows * from.cols);
    for (let r = 0; r < from.rows; r++) values.set(from.row(r), r * from.cols);
    return values;
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

  rows(x: Tensor, from: number, to: number): RefTensor {
    const { storage, offset, stride, rows } = this.#use(x);
    const shape = rules.rowsRule(x, from, to);
    return new RefTensor(storage, shape, { offset: offset + from * (rows / x.shape[0]) * stride, stride });
  }

  columns(x: Tensor, from: number, to: number): RefTensor {
    const { storage, offset, stride } = this.#use(x);
    return new RefTensor(storage, rules.columnsRule(x, from, to), { offset: offset + from, stride });
  }

  reshape(x: Tensor, shape: readonly number[]): RefTensor {
    const { storage, offset, stride } = this.#use(x);
    return new RefTensor(storage, rules.reshapeRule(x, shape), { offset, stride });
  }

  /** NaN until it is written. */
  empty(shape: readonly number[]): RefTensor {
    return this.#make(rules.emptyRule(shape));
  }

  write(target: Tensor, source: Tensor): void {
    rules.writeRule(target, source);
    layers.place(this.#use(target), this.#use(source), 0, 0);
  }

  // Layers.

  linear(x: Tensor, w: Weight, options: Epilogue = {}): RefTensor {
    this.#useEpilogue(options);
    const from = this.#use(x), out = this.#make(rules.linearRule(x, w, options));
    layers.linear(out, from, w as RefWeight, options);
    return out;
  }

  conv2d(x: Tensor, w: Weight, options: ConvOptions = {}): RefTensor {
    this.#useEpilogue(options);
    const from = this.#use(x), out = this.#make(rules.conv2dRule(x, w, options));
    const [top, left] = rules.convPad(w, options);
    layers.conv2d(out, from, w as RefWeight, { ...options, stride: options.stride ?? 1, top, left });
    return out;
  }

  groupNorm(
    x: Tensor,
    w: NormWeight,
    options: { groups: number; eps: number; silu?: boolean },
  ): RefTensor {
    const from = this.#use(x), out = this.#make(rules.groupNormRule(x, w, options));
    this.scope(() => layers.affine(out, from, this.groupNormAffine(x, w, options), options.silu ?? false));
    return out;
  }

  groupNormAffine(x: Tensor, w: NormWeight, options: { groups: number; eps: number }): RefTensor {
    const from = this.#use(x), out = this.#make(rules.groupNormAffineRule(x, w, options));
    layers.groupNormAffine(out, from, w as RefNormWeight, options);
    return out;
  }

  affine(x: Tensor, scaleShift: Tensor, options: { silu?: boolean } = {}): RefTensor {
    const from = this.#use(x),
      factors = this.#use(scaleShift),
      out = this.#make(rules.affineRule(x, scaleShift));
    layers.affine(out, from, factors, options.silu ?? false);
    return out;
  }

  layerNorm(x: Tensor, w: NormWeight, options: { eps: number }): RefTensor {
    const from = this.#use(x), out = this.#make(rules.layerNormRule(x, w, options));
    layers.layerNorm(out, from, w as RefNormWeight, options.eps);
    return out;
  }

  attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): RefTensor {
    const [query, key, value] = [this.#use(q), this.#use(k), this.#use(v)];
    const out = this.#make(rules.attentionRule(q, k, v, options));
    const { heads, causal = false, scale = 1 / Math.sqrt(q.shape[2] / heads) } = options;
    layers.attention(out, query, key, value, { heads, causal, scale });
    return out;
  }

  geglu(x: Tensor): RefTensor {
    const from = this.#use(x), out = this.#make(rules.gegluRule(x));
    layers.geglu(out, from);
    return out;
  }

  activation(x: Tensor, kind: Activation): RefTensor {
    const from = this.#use(x), out = this.#make(rules.activationRule(x, kind));
    layers.activation(out, from, kind);
    return out;
  }

  upsample(x: Tensor, height: number, width: number): RefTensor {
    const from = this.#use(x), out = this.#make(rules.upsampleRule(x, height, width));
    layers.upsample(out, from);
    return out;
  }

  concat(a: Tensor, b: Tensor): RefTensor {
    const [left, right] = [this.#use(a), this.#use(b)], out = this.#make(rules.concatRule(a, b));
    layers.place(out, left, 0, 0);
    layers.place(out, right, 0, left.cols);
    return out;
  }

  stack(parts: readonly Tensor[]): RefTensor {
    const from = parts.map((x) => this.#use(x)), out = this.#make(rules.stackRule(parts));
    let row = 0;
    for (const x of from) {
      layers.place(out, x, row, 0);
      row += x.rows;
    }
    return out;
  }

  lincomb(terms: readonly (readonly [number, Tensor])[]): RefTensor {
    const from = terms.map(([factor, x]) => [factor, this.#use(x)] as const);
    const out = this.#make(rules.lincombRule(terms));
    layers.lincomb(out, from);
    return out;
  }

  blend(mask: Tensor, a: Tensor, b: Tensor): RefTensor {
    const [m, x, y] = [this.#use(mask), this.#use(a), this.#use(b)],
      out = this.#make(rules.blendRule(mask, a, b));
    layers.blend(out, m, x, y);
    return out;
  }

  // Token merging.

  match(metric: Tensor, options: MatchOptions): RefPlan {
    const from = this.#use(metric), { batch, tokens } = rules.matchRule(metric, options);
    return this.#makePlan(tome.match(from, options), { batch, tokens, merged: options.r });
  }

  // deno-lint-ignore require-await -- as for `read`
  async bestMatches(metric: Tensor, options: Omit<MatchOptions, "r">): Promise<MatchValues> {
    rules.bestMatchesRule(metric, options);
    return tome.bestMatches(this.#use(metric), options);
  }

  planFrom(values: PlanValues, shape: { batch: number; tokens: number; merged: number }): RefPlan {
    rules.planFromRule(values, shape);
    return this.#makePlan(values.rowOf.slice(), shape);
  }

  // deno-lint-ignore require-await -- as for `read`
  async readPlan(plan: MergePlan): Promise<PlanValues> {
    return { rowOf: this.#usePlan(plan).storage.rowOf.slice() };
  }

  merge(plan: MergePlan, x: Tensor): RefTensor {
    const used = this.#usePlan(plan), from = this.#use(x), out = this.#make(rules.mergeRule(plan, x));
    tome.merge(out, used, from);
    return out;
  }

  unmerge(plan: MergePlan, y: Tensor, residual?: Tensor): RefTensor {
    const used = this.#usePlan(plan), from = this.#use(y), added = residual && this.#use(residual);
    const out = this.#make(rules.unmergeRule(plan, y, residual));
    tome.unmerge(out, used, from, added);
    return out;
  }

  // deno-lint-ignore require-await -- as for `read`
  async dispose(): Promise<void> {
    this.#scopes.clear();
  }

  #make(shape: readonly number[]): RefTensor {
    const data = new Float32Array(rules.sizeOf(shape)).fill(NaN);
    return new RefTensor(this.#scopes.add(new RefStorage(this.#scopes, data)), shape);
  }

  #makePlan(rowOf: Int32Array, { batch, tokens, merged }: MergePlan): RefPlan {
    const storage = this.#scopes.add(new RefPlanStorage(this.#scopes, rowOf));
    return { batch, tokens, merged, storage, view: false };
  }

  #use(x: Tensor): RefTensor {
    this.#scopes.use(x);
    return x as RefTensor;
  }

  #useEpilogue({ residual, rowBias }: Epilogue): void {
    if (residual) this.#use(residual);
    if (rowBias) this.#use(rowBias);
  }

  #usePlan(plan: MergePlan): RefPlan {
    this.#scopes.use(plan);
    return plan as RefPlan;
  }
}

function hostValues(t: HostTensor): Float32Array {
  rules.checkHostData(t);
  return widen(t, 0, rules.sizeOf(t.shape));
}
