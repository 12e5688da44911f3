import { DeviceError } from "../../errors.ts";
import { bunGpu, bunLimits, isNullAdapter } from "./bun.ts";
import { inNode, nodeGpu } from "./node.ts";

/** An adapter that may compute: it still has to pass the self-test. */
export interface FoundAdapter {
  readonly adapter: GPUAdapter;
  /** What the driver calls it. */
  readonly name: string;
  /** Computes on the CPU: right, but slower than the WebAssembly kernels, so that `auto` passes it by. */
  readonly software: boolean;
  /** Threads of its subgroups, at least and at most; 4 where the runtime does not tell, WebGPU's least. */
  readonly subgroups: readonly [least: number, most: number];
}

/** Rasterisers that run on the CPU, by the names that their drivers give. */
const SOFTWARE = /llvmpipe|lavapipe|softpipe|swiftshader|microsoft basic render|\bwarp\b/i;

/** Longest wait for an adapter or a device; a driver that needs longer is broken. */
const START_SECONDS = 30;

/**
 * The fast adapter of this place: `navigator.gpu` (browsers, Deno), or Bun's or Node's package.
 *
 * @throws {DeviceError} with the reason if there is none, or only one known to compute nothing.
 */
export async function findAdapter(given?: GPU, seconds = START_SECONDS): Promise<FoundAdapter> {
  const gpu = given ?? await placeGpu();
  if (typeof gpu === "string") throw new DeviceError(`Cannot start the GPU: ${gpu}`);
  let adapter: GPUAdapter | null;
  try {
    const requested = gpu.requestAdapter({ powerPreference: "high-performance" });
    adapter = await within(requested, { what: "an adapter", seconds });
  } catch (error) {
    throw new DeviceError(`Cannot start the GPU: the request for an adapter failed: ${messageOf(error)}`);
  }
  if (!adapter) {
    throw new DeviceError(
      "Cannot start the GPU: WebGPU is here, but found no adapter (no driver, or blocked)",
    );
  }
  const { info } = adapter;
  if (!info || isNullAdapter(info)) {
    throw new DeviceError(
      "Cannot start the GPU: expected an adapter that computes, found a null adapter (no driver)",
    );
  }
  const name =
    [info.description, info.device, info.architecture, info.vendor].find((s) => s && !/^\d+$/.test(s)) ??
      "unnamed adapter";
  const software = fallback(adapter) ||
    SOFTWARE.test([info.vendor, info.architecture, info.device, info.description].join(" "));
  const { subgroupMinSize: least = 4, subgroupMaxSize: most = 128 } = info;
  return { adapter, name, software, subgroups: [least, most] };
}

/** Not in every runtime's types. */
const SUBGROUPS = "subgroups" as GPUFeatureName;

/** A device with all that its adapter has to offer kernels. */
export async function openDevice(
  { adapter, name }: FoundAdapter,
  seconds = START_SECONDS,
): Promise<GPUDevice> {
  const offered = (["shader-f16", "timestamp-query", SUBGROUPS] as GPUFeatureName[])
    .filter((feature) => adapter.features.has(feature));
  const requiredLimits = bunLimits(adapter.limits);
  const request = (requiredFeatures: GPUFeatureName[]) =>
    within(adapter.requestDevice({ requiredFeatures, requiredLimits }), { what: "a device", seconds });
  try {
    // Deno 2 does not list subgroups, and gives them to who asks where the driver has them.
    if ("Deno" in globalThis && !offered.includes(SUBGROUPS)) {
      const device = await request([...offered, SUBGROUPS]).catch(() => undefined);
      if (device) return device;
    }
    return await request(offered);
  } catch (error) {
    throw new DeviceError(`Cannot start the GPU (${name}): no device: ${messageOf(error)}`);
  }
}

export async function placeGpu(): Promise<GPU | string> {
  if (typeof navigator !== "undefined" && navigator.gpu) return navigator.gpu;
  if ("Bun" in globalThis) return await bunGpu();
  if (inNode) return await nodeGpu();
  return "this runtime has no WebGPU (navigator.gpu)";
}

/** In the browser's current place, then in its former one, a getter that throws in bun-webgpu. */
function fallback(adapter: GPUAdapter): boolean {
  try {
    const old = adapter as unknown as { isFallbackAdapter?: boolean };
    return adapter.info.isFallbackAdapter ?? old.isFallbackAdapter ?? false;
  } catch {
    return false;
  }
}

async function within<T>(
  promise: Promise<T>,
  { what, seconds }: { what: string; seconds: number },
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`waited ${seconds} s for ${what}`)),
      seconds * 1000,
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
