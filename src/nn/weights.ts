import type { Backend, HostTensor, NormWeight, Weight } from "../backend/backend.ts";

/** Where weights come from: a checkpoint, random numbers (benchmarks), or nothing but shapes. */
export interface WeightSource {
  /** The tensor of that name, which must have that shape: else a `CheckpointError`. */
  take(name: string, shape: readonly number[]): HostTensor | Promise<HostTensor>;
}

/** Opens weights by their checkpoint path and repacks them for a backend. */
export class WeightReader {
  constructor(readonly backend: Backend, readonly source: WeightSource, readonly path: string = "") {}

  at(name: string | number): WeightReader {
    return new WeightReader(this.backend, this.source, this.#name(`${name}`));
  }

  /** Matrices `[cout, cin]` with one input, stacked along their outputs: one product instead of several. */
  async stacked(names: readonly string[], cin: number, cout: number, bias: boolean): Promise<Weight> {
    const weights = await this.#all(names, "weight", [cout, cin]);
    return this.backend.linearWeight(weights, bias ? await this.#all(names, "bias", [cout]) : undefined);
  }

  linear(name: string, cin: number, cout: number, bias = true): Promise<Weight> {
    return this.stacked([name], cin, cout, bias);
  }

  /** A 1×1 convolution `[cout, cin, 1, 1]`, which on channels-last tensors is a matrix product. */
  async pointwise(name: string, cin: number, cout: number): Promise<Weight> {
    const [weight] = await this.#all([name], "weight", [cout, cin, 1, 1]);
    return this.backend.linearWeight(
      [{ ...weight, shape: [cout, cin] }],
      await this.#all([name], "bias", [cout]),
    );
  }

  async conv(name: string, cin: number, cout: number): Promise<Weight> {
    const [weight] = await this.#all([name], "weight", [cout, cin, 3, 3]);
    const [bias] = await this.#all([name], "bias", [cout]);
    return this.backend.convWeight(weight, bias);
  }

  async norm(name: string, channels: number): Promise<NormWeight> {
    const [weight] = await this.#all([name], "weight", [channels]);
    const [bias] = await this.#all([name], "bias", [channels]);
    return this.backend.normWeight(weight, bias);
  }

  /** A tensor that stays on the host: an embedding table. */
  async host(name: string, shape: readonly number[]): Promise<HostTensor> {
    return await this.source.take(this.#name(name), shape);
  }

  #all(names: readonly string[], kind: string, shape: readonly number[]): Promise<HostTensor[]> {
    return Promise.all(names.map((n) => this.source.take(this.#name(`${n}.${kind}`), shape)));
  }

  #name(name: string): string {
    return this.path ? `${this.path}.${name}` : name;
  }
}
