/** What tests/goldens/make_samplers.py wrote (its first lines say how to run it). */
import { readFileSync } from "node:fs";
import type { StepOutput, Term } from "../../src/samplers/contract.ts";
import type { Sampler } from "../../src/samplers/sampler.ts";
import { createSampler } from "../../src/samplers/sampler.ts";
import { parseSchedulerConfig } from "../../src/samplers/scheduler_config.ts";

export interface GoldenRun {
  sampler: string;
  steps: number;
  /** Which x of the trajectory are stored. */
  kept: number[];
  init: number;
  options: { eta?: number };
  config: Record<string, unknown>;
}

/** Tensor `image`, a row per case: first and last x of image to image, first and last x of inpainting. */
interface GoldenImageRuns {
  sampler: string;
  config: Record<string, unknown>;
  cases: [steps: number, strength: number, networkCalls: number][];
}

const file = readFileSync(new URL("../goldens/samplers.safetensors", import.meta.url));
const headerSize = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + headerSize)));

export const runs: GoldenRun[] = JSON.parse(header.__metadata__.runs);
export const imageRuns = (JSON.parse(header.__metadata__.image_runs) as GoldenImageRuns[])
  .flatMap(({ cases, ...run }) =>
    cases.map(([steps, strength, calls]) => ({ ...run, steps, strength, calls }))
  );
export const timestepHashes: Record<string, number> = JSON.parse(header.__metadata__.timestep_hashes);

export function has(name: string): boolean {
  return name in header;
}

export function golden(name: string): Float32Array | Float64Array {
  const { dtype, data_offsets: [from, to] } = header[name];
  const bytes = file.slice(8 + headerSize + from, 8 + headerSize + to);
  const copy = new Uint8Array(bytes).buffer;
  return dtype === "F64" ? new Float64Array(copy) : new Float32Array(copy);
}

export const N = 8;

/** make_samplers.py's network. */
export function network(x: Float32Array, t: number): Float32Array {
  return x.map((value, j) => {
    const bias = ((5 * j) % 7 - 3) / 16;
    return 0.5 * value + 0.25 * x[(j + 3) % N] - t / 1000 * 0.125 * x[(j + 5) % N] + bias;
  });
}

export function noise(key: number): Float32Array {
  return Float32Array.from({ length: N }, (_, j) => ((j * 37 + key * 23 + 11) % 97 - 48) / 32);
}

/** f32 in, f32 out, f64 between. */
export function lincomb(terms: readonly Term<Float32Array>[]): Float32Array {
  return terms[0][1].map((_, j) => terms.reduce((sum, [c, tensor]) => sum + c * tensor[j], 0));
}

export function samplerOf(run: GoldenRun): Sampler {
  return createSampler(run.sampler, parseSchedulerConfig(run.config), { steps: run.steps, ...run.options });
}

export interface Trajectory {
  x: Float32Array[];
  denoised: Float32Array[];
}

export interface SampleOptions {
  /** Start from it with noise added. */
  image?: Float32Array;
  /** Keep every other element of it, noised, after each step. */
  kept?: Float32Array;
}

/** The whole run with the fake network. Noise keys count up from 1, as make_samplers.py's monkey patch does. */
export function sample(sampler: Sampler, { image, kept }: SampleOptions = {}): Trajectory {
  const noised = (image: Float32Array, index: number) => {
    const [a, b] = sampler.addNoise(index);
    return lincomb([[a, image], [b, noise(0)]]);
  };
  const first = image ? noised(image, 0) : noise(0).map((value) => value * sampler.initNoiseSigma);
  const out: Trajectory = { x: [first], denoised: [] };
  let history: StepOutput<Float32Array>["history"] = [];
  let draws = 0;
  sampler.timesteps.forEach((t, index) => {
    const x = out.x[index];
    const scale = sampler.scaleInput(index);
    const modelOutput = network(x.map((value) => value * scale), t);
    const fresh = sampler.noisePerStep(index) ? noise(++draws) : undefined;
    const step = sampler.step(lincomb, { index, x, modelOutput, noise: fresh, history });
    const painted = kept && noised(kept, index + 1);
    out.x.push(painted ? step.x.map((value, j) => j % 2 ? value : painted[j]) : step.x);
    out.denoised.push(step.denoised);
    history = step.history;
  });
  return out;
}

/** Largest |a − b|, and NaN if either holds one. */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return NaN;
  let worst = 0;
  for (let i = 0; i < a.length; i++) {
    const d = Math.abs(a[i] - b[i]);
    if (!(d <= worst)) worst = d;
  }
  return worst;
}

export function largest(values: ArrayLike<number>): number {
  return distance(values, new Float32Array(values.length));
}

/** FNV-1a over the bytes, carried on from `hash`. */
export function fnv(bytes: Uint8Array, hash = 0x811c9dc5): number {
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
