/**
 * Has Dawn write the zeros of a workgroup's memory in a loop: where Vulkan does it (an extension), SwiftShader writes out
 * a store per value, and takes seconds to compile what now takes tenths. The zeros are the same. WebGPU has no word
 * for Dawn's toggles and bun-webgpu 0.1.7 no parameter; it passes on the `nextInChain` of Dawn's C interface.
 */
const TOGGLE = "use_vulkan_zero_initialize_workgroup_memory_extension";
/** `WGPUSType_DawnTogglesDescriptor` */
const TYPE = 0x5000an;

/** What the chain points to, kept from the collector. */
const held: ArrayBufferView[] = [];

export async function zeroByLoop(gpu: GPU): Promise<GPU> {
  const ffi = "bun:ffi"; // not a literal, so that Deno does not look for it
  const { ptr } = await import(ffi) as { ptr(x: ArrayBufferView): number };
  const name = new TextEncoder().encode(`${TOGGLE}\0`);
  const names = BigUint64Array.of(BigInt(ptr(name)));
  // Next in chain, type; how many are enabled, which; how many are disabled, which.
  const toggles = BigUint64Array.of(0n, TYPE, 0n, 0n, 1n, BigInt(ptr(names)));
  held.push(name, names, toggles);
  return {
    async requestAdapter(options?: GPURequestAdapterOptions) {
      const adapter = await gpu.requestAdapter(options);
      if (!adapter) return null;
      const requestDevice = adapter.requestDevice.bind(adapter);
      adapter.requestDevice = (descriptor) =>
        requestDevice({ ...descriptor, nextInChain: ptr(toggles) } as GPUDeviceDescriptor);
      return adapter;
    },
  } as GPU;
}
