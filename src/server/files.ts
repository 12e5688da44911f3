/** A file handed out by URL. */
export interface HostedFile {
  bytes: Uint8Array<ArrayBuffer>;
  type: string;
}

/**
 * Pictures handed out by URL for a while: their names cannot be guessed, and whoever has one may fetch it. When
 * they are too many bytes, the oldest go first.
 */
export class HostedFiles {
  readonly #files = new Map<string, HostedFile & { expires: number }>();
  #bytes = 0;

  constructor(private readonly limits: { maxBytes: number; keepSeconds: number }) {}

  /** Returns the path to fetch it from. */
  add(file: HostedFile): string {
    const name = `${crypto.randomUUID()}.${file.type.split("/")[1]}`;
    this.#files.set(name, { ...file, expires: Date.now() + this.limits.keepSeconds * 1000 });
    this.#bytes += file.bytes.length;
    this.#trim(name);
    return `/files/${name}`;
  }

  get(name: string): HostedFile | undefined {
    this.#trim();
    return this.#files.get(name);
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Map order is age order. */
  #trim(keep?: string): void {
    const now = Date.now();
    for (const [name, file] of this.#files) {
      if (name === keep || (file.expires > now && this.#bytes <= this.limits.maxBytes)) return;
      this.#files.delete(name);
      this.#bytes -= file.bytes.length;
    }
  }
}
