/** What Bun needs to have WebGPU: the optional package `bun-webgpu` (Dawn), imported by name at run time only. */
import { locatePackage } from "../builtin.ts";

// Not imported, so that browsers can load this module.
const process = (globalThis as { process?: typeof import("node:process") }).process;

interface BunWebGpu {
  createGPUInstance(): GPU;
}

/**
 * Dawn's `GPU`, or why there is none. Nothing global is set. What is different from browsers (0.1.7):
 * `getCompilationInfo` is missing (an error scope around `createShaderModule` has the message),
 * `adapter.isFallbackAdapter` throws, `GPUBufferUsage` and `GPUMapMode` are not defined, and without a driver
 * the adapter's `info.device` is "null-backend": it compiles shaders, runs none and maps what memory held.
 */
export async function bunGpu(): Promise<GPU | string> {
  const name = "bun-webgpu"; // Not a literal, so that neither Deno nor a bundler looks for it.
  let webgpu: BunWebGpu;
  try {
    webgpu = await import(locatePackage(name, import.meta.url));
  } catch {
    return `Bun has WebGPU through the package ${name}, which is not installed: bun add ${name}`;
  }
  try {
    return webgpu.createGPUInstance();
  } catch (error) {
    return `${name} does not start: ${error instanceof Error ? error.message : error}`;
  }
}

const DEVICES = ["/dev/dri", "/dev/nvidia0", "/dev/dxg"];
/** Who sets one of them expects a driver; the third says no more than that. */
const VARIABLES = ["VK_ICD_FILENAMES", "VK_DRIVER_FILES", "TOME_GPU"];

/**
 * Whether `auto` should look for a GPU: on Linux it loads neither the package, 20 MB of it, nor Vulkan where there
 * is no device file. Vulkan warns there, and of programs on Deno 2.9 whose worker asked it for an adapter about
 * every twentieth ends with a segmentation fault, its work done.
 */
export function mayHaveGpu(): boolean {
  if (process?.platform !== "linux") return true;
  const { Deno } = globalThis as { Deno?: { permissions: Permissions } };
  // Where Deno would have to ask for leave to look, it may ask for an adapter instead, which needs none.
  const may = (...descriptors: Descriptor[]) =>
    !Deno || descriptors.every((d) => Deno.permissions.querySync(d).state === "granted");
  if (!may(...DEVICES.map((path) => ({ name: "read", path } as const)))) return true;
  if (!may(...VARIABLES.map((variable) => ({ name: "env", variable } as const)))) return true;
  const { existsSync } = process.getBuiltinModule("node:fs");
  return VARIABLES.some((name) => process.env[name]) || DEVICES.some((path) => existsSync(path));
}

type Descriptor = { name: "read"; path: string } | { name: "env"; variable: string };
interface Permissions {
  querySync(descriptor: Descriptor): { state: string };
}

/**
 * The limits to require of a device, all that the adapter has: bun-webgpu refuses its own defaults where the
 * adapter has less (SwiftShader's 0 storage buffers in a vertex stage), so each limit must be named.
 */
export function bunLimits(limits: GPUSupportedLimits): Record<string, number> {
  const found: Record<string, number> = {};
  for (const name in limits) {
    const value: unknown = limits[name as keyof GPUSupportedLimits];
    // maxInterStageShaderComponents was removed from WebGPU and reads as 2^32 - 1.
    if (
      typeof value === "number" && name.startsWith("m") && value < 2 ** 53 && !name.endsWith("Components")
    ) {
      found[name] = value;
    }
  }
  return found;
}

/** Whether Dawn found no driver and computes nothing. */
export function isNullAdapter(info: GPUAdapterInfo): boolean {
  return info.device === "null-backend";
}
