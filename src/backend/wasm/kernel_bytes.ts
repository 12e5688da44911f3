import { DeviceError } from "../../errors.ts";

/** A build of the kernels, from its file. In the bundle another module takes this one's place: see tools/build. */
export async function kernelBytes(build: string): Promise<Uint8Array<ArrayBuffer>> {
  const url = new URL(`../../../asm/pkg/kernels.${build}.wasm`, import.meta.url);
  try {
    if (url.protocol === "file:") {
      const { readFile } = await import("node:fs/promises");
      return new Uint8Array(await readFile(url));
    }
    const response = await fetch(url);
    if (!response.ok) throw new Error(`HTTP status ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  } catch (cause) {
    throw new DeviceError(
      `Cannot read the kernels: expected a file at ${url}, found ${(cause as Error).message}`,
      { cause },
    );
  }
}
