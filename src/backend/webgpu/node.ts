/** What Node needs to have WebGPU: the package `webgpu` (Dawn), imported by name at run time only. */
import { locatePackage } from "../builtin.ts";

interface NodeWebGpu {
  create(options: string[]): GPU;
}

/** Not Deno or Bun, which say that they are Node's version too. */
export const inNode = !("Deno" in globalThis) && !("Bun" in globalThis) &&
  Boolean((globalThis as { process?: typeof import("node:process") }).process?.versions?.node);

/** Dawn's instance lives as long as this object, and its devices no longer. It does not keep Node running. */
let gpu: GPU | undefined;

/**
 * Dawn's `GPU`, or why there is none. Nothing global is set. What is different from browsers (0.6.2):
 * `GPUBufferUsage` and `GPUMapMode` are not defined, and without a driver there is no adapter.
 */
export async function nodeGpu(): Promise<GPU | string> {
  const name = "webgpu"; // Not a literal, so that neither Deno nor a bundler looks for it.
  let webgpu: NodeWebGpu;
  try {
    webgpu = await import(locatePackage(name, import.meta.url));
  } catch (error) {
    if ((error as { code?: string }).code === "ERR_MODULE_NOT_FOUND") {
      return `Node has WebGPU through the package ${name}, which is not installed: npm install ${name}`;
    }
    return `${name} does not load: ${error instanceof Error ? error.message : error}`;
  }
  try {
    return gpu ??= webgpu.create([]);
  } catch (error) {
    return `${name} does not start: ${error instanceof Error ? error.message : error}`;
  }
}
