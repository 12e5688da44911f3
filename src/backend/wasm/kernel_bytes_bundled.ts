/** All builds of the kernels, one after the other, deflated together: they differ little. See tools/build. */
declare const KERNELS: {
  base64: string;
  /** Where each build begins and ends. */
  builds: Record<string, readonly [from: number, to: number]>;
};

let all: Promise<ArrayBuffer> | undefined;

/** A build of the kernels, in a bundle: takes the place of `kernel_bytes.ts` there. */
export async function kernelBytes(build: string): Promise<Uint8Array<ArrayBuffer>> {
  const [from, to] = KERNELS.builds[build];
  return new Uint8Array(await (all ??= inflate()), from, to - from);
}

function inflate(): Promise<ArrayBuffer> {
  const bytes = Uint8Array.from(atob(KERNELS.base64), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}
