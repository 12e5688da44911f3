import assert from "node:assert/strict";
import type { Backend, HostTensor, NormWeight, Tensor, Weight } from "../../src/backend/backend.ts";
import { narrow, widen } from "../../src/backend/half.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { assertClose, type Tolerance } from "../support/assert_close.ts";
import { randomHost } from "../support/host.ts";
import { randomArray } from "../support/random.ts";

/** Makes an operation's weights on the backend under test; the same values on every backend. */
export interface Weights {
  /** Weights of variance 1/cin, so that outputs are of size 1. */
  linear(cin: number, cout: number, options?: WeightOptions): Weight;
  conv(cin: number, cout: number, kernel: number, options?: WeightOptions): Weight;
  norm(channels: number): NormWeight;
}

interface WeightOptions {
  bias?: boolean;
  dtype?: HostTensor["dtype"];
}

export interface OpCase {
  readonly name: string;
  /** Of the inputs. */
  readonly shapes: readonly (readonly number[])[];
  readonly op: (b: Backend, inputs: Tensor[], weights: Weights) => Tensor | Promise<ArrayLike<number>>;
  /** `SUMS` where neither the case nor its family says otherwise. */
  readonly tolerance?: Tolerance;
  /** Values of an input; random ones of mean 0 and variance 1 otherwise. */
  readonly fill?: (input: number) => Float32Array;
}

/**
 * Outputs are of size 1 and sums of up to 2880 products: each addition rounds a partial sum by about 2^-25 of it,
 * 1.5e-6 in all (one standard deviation), of which the worst of some ten thousand outputs takes four.
 */
const SUMS: Tolerance = { atol: 6e-6, rtol: 4e-6 };
/** Copies and choices. */
export const EXACT: Tolerance = { atol: 0 };

export function opCase(
  name: string,
  shapes: OpCase["shapes"],
  op: OpCase["op"],
  options: { tolerance?: Tolerance; fill?: OpCase["fill"] } = {},
): OpCase {
  return { name, shapes, op, ...options };
}

/** What does not depend on the backend under test, made once per case. */
interface Prepared {
  readonly inputs: Float32Array[];
  /** Every weight that the operation asked for, by its place in the order of asking. */
  readonly hosts: HostTensor[];
  readonly want: Promise<Values>;
}

function weightsOn(b: Backend, hosts: HostTensor[], half: boolean): Weights {
  let asked = 0;
  const host = (name: string, shape: number[], gain: number, dtype?: HostTensor["dtype"]) => {
    const at = asked++;
    return hosts[at] ??= randomHost(name, shape, {
      seed: 1000 + at,
      gain,
      dtype: half && dtype !== "BF16" ? "F16" : dtype,
    });
  };
  return {
    linear: (cin, cout, { bias = true, dtype } = {}) => {
      const w = host("w", [cout, cin], 1 / Math.sqrt(cin), dtype);
      return b.linearWeight([w], bias ? [host("b", [cout], 1, dtype)] : undefined);
    },
    conv: (cin, cout, k, { bias = true, dtype } = {}) => {
      const w = host("w", [cout, cin, k, k], 1 / (k * Math.sqrt(cin)), dtype);
      return b.convWeight(w, bias ? host("b", [cout], 1, dtype) : undefined);
    },
    norm: (channels) => b.normWeight(host("w", [channels], 1), host("b", [channels], 1)),
  };
}

/** How an input lies in memory: by itself, or as a view with NaN all around it. */
export const LAYOUTS = ["plain", "columns", "rows"] as const;
export type Layout = typeof LAYOUTS[number];

/** Off the alignment of v128, on both sides. */
const LEFT = 3, RIGHT = 2;

interface Placed {
  view: Tensor;
  owner: Tensor;
}

function place(b: Backend, values: Float32Array, shape: readonly number[], layout: Layout): Placed {
  const cols = shape[shape.length - 1], rows = values.length / cols;
  switch (layout) {
    case "plain": {
      const owner = b.upload(values, shape);
      return { owner, view: owner };
    }
    case "columns": {
      const width = LEFT + cols + RIGHT, wide = new Float32Array(rows * width).fill(NaN);
      for (let r = 0; r < rows; r++) wide.set(values.subarray(r * cols, (r + 1) * cols), r * width + LEFT);
      const owner = b.upload(wide, [...shape.slice(0, -1), width]);
      return { owner, view: b.columns(owner, LEFT, LEFT + cols) };
    }
    case "rows": {
      const tall = new Float32Array((rows + 2) * cols).fill(NaN);
      tall.set(values, cols);
      const owner = b.upload(tall, [rows + 2, cols]);
      return { owner, view: b.reshape(b.rows(owner, 1, rows + 1), shape) };
    }
    default:
      return layout satisfies never;
  }
}

interface Values {
  values: ArrayLike<number>;
  /** Of a tensor; none where the case read a plan or matches. */
  shape?: readonly number[];
}

const prepared = [new WeakMap<OpCase, Prepared>(), new WeakMap<OpCase, Prepared>()];

/** `half`: from inputs and weights that f16 can hold. */
function prepare(c: OpCase, half: boolean): Prepared {
  const found = prepared[Number(half)].get(c);
  if (found) return found;
  const hosts: HostTensor[] = [];
  const exact = c.shapes.map((shape, i) =>
    c.fill?.(i) ?? randomArray(shape.reduce((a, n) => a * n, 1), 77 * i + 1)
  );
  const most = 65504; // of the finite halves
  const inputs = half ? exact.map((x) => toHalves(x.map((v) => Math.min(Math.max(v, -most), most)))) : exact;
  const compute = async () => {
    const b = createReferenceBackend();
    const out = c.op(b, inputs.map((v, i) => b.upload(v, c.shapes[i])), weightsOn(b, hosts, half));
    return out instanceof Promise ? { values: await out } : { values: await b.read(out), shape: out.shape };
  };
  const made = { inputs, hosts, want: compute() };
  prepared[Number(half)].set(c, made);
  return made;
}

/** No power of two, and more than a line of the cache. */
const GUARD = Float32Array.from({ length: 67 }, (_, i) => 1000 + i);

/** Inputs are halves, sums f32, and results rounded: by 2^-11 of them, as are the results expected. */
const HALF = { atol: 2 ** -24, rtol: 2 ** -10 };

/** The nearest halves. */
function toHalves(values: Float32Array): Float32Array {
  const data = new Uint8Array(narrow(values).buffer);
  return widen({ name: "", dtype: "F16", shape: [], data }, 0, values.length);
}

/**
 * Runs one case and compares it with the reference; gives the values. The result is made in a hole between two
 * guards, where the backend's memory reuses holes: guards and inputs must be as they were. `half`: of a backend
 * that computes in f16.
 */
export async function checkCase(
  b: Backend,
  c: OpCase,
  layout: Layout,
  { half = false }: { half?: boolean } = {},
): Promise<ArrayLike<number>> {
  const { inputs: values, hosts, ...made } = prepare(c, half);
  const want = await made.want;
  const label = `${c.name}, ${layout}, on ${b.description}`;
  const weights = weightsOn(b, hosts, half);
  let inputs: Placed[] = [], pending: Promise<ArrayLike<number>> | undefined, out: Tensor | undefined;
  const guards: Tensor[] = [];
  b.scope(() => {
    inputs = values.map((v, i) => place(b, v, c.shapes[i], layout));
    const guard = () => guards.push(b.upload(GUARD, [GUARD.length]));
    guard();
    const hole = want.shape && b.empty(want.shape);
    guard();
    if (hole) b.free(hole);
    const result = c.op(b, inputs.map(({ view }) => view), weights);
    if (result instanceof Promise) pending = result;
    else out = result;
    return [out, ...guards, ...inputs.map(({ owner }) => owner)];
  });
  // At once: a device may take its time to answer, and answers many as fast as one.
  const [got, beside, after] = await Promise.all([
    pending ?? b.read(out!),
    Promise.all(guards.map((guard) => b.read(guard))),
    Promise.all(inputs.map(({ view }) => b.read(view))),
  ]);
  assert.deepEqual(out?.shape, want.shape, `${label}: shape`);
  const own = c.tolerance ?? SUMS;
  const tolerance = half && own !== EXACT
    ? { atol: own.atol + HALF.atol, rtol: (own.rtol ?? 0) + HALF.rtol }
    : own;
  assertClose(got, half && out ? toHalves(Float32Array.from(want.values)) : want.values, {
    ...tolerance,
    label,
    shape: want.shape,
  });
  for (const guard of beside) {
    assertClose(guard, GUARD, { ...EXACT, label: `${label}: memory beside the output` });
  }
  for (const [i, input] of after.entries()) {
    assertClose(input, values[i], { ...EXACT, label: `${label}: input ${i} afterwards` });
  }
  for (const x of [...guards, ...inputs.map(({ owner }) => owner), ...(out ? [out] : [])]) b.free(x);
  return got;
}
