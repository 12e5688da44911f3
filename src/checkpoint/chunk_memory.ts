/** The chunks used last. */
export class ChunkMemory {
  readonly #chunks = new Map<string, Uint8Array>();
  #bytes = 0;

  constructor(readonly limit: number) {}

  get(key: string): Uint8Array | undefined {
    const data = this.#chunks.get(key);
    if (data) {
      this.#chunks.delete(key);
      this.#chunks.set(key, data);
    }
    return data;
  }

  set(key: string, data: Uint8Array): void {
    this.drop(key);
    this.#chunks.set(key, data);
    this.#bytes += data.length;
    for (const old of this.#chunks.keys()) {
      if (this.#bytes <= this.limit || old === key) break;
      this.drop(old);
    }
  }

  drop(key: string): void {
    this.#bytes -= this.#chunks.get(key)?.length ?? 0;
    this.#chunks.delete(key);
  }
}
