import process from "node:process";

/** Runs `body` with another `navigator.gpu`, for which `auto` looks also where there is no device file. */
export async function withGpu<T>(gpu: unknown, body: () => Promise<T>): Promise<T> {
  const own = Object.getOwnPropertyDescriptor(navigator, "gpu");
  const { TOME_GPU } = process.env;
  Object.defineProperty(navigator, "gpu", { value: gpu, configurable: true });
  process.env.TOME_GPU = "1";
  try {
    return await body();
  } finally {
    if (TOME_GPU === undefined) delete process.env.TOME_GPU;
    else process.env.TOME_GPU = TOME_GPU;
    if (own) Object.defineProperty(navigator, "gpu", own);
    else delete (navigator as { gpu?: unknown }).gpu;
  }
}

export interface Disguised {
  gpu: GPU;
  /** Every device handed out, to be lost by tests. */
  devices: GPUDevice[];
}

/** The adapter of this machine under the name of a real GPU, so that `auto` takes it, less some of its limits and features. */
export function disguise(
  from: GPU,
  { limits = {}, f16 = true }: { limits?: Record<string, number>; f16?: boolean } = {},
): Disguised {
  const devices: GPUDevice[] = [];
  const gpu = {
    async requestAdapter(options?: GPURequestAdapterOptions) {
      const adapter = await from.requestAdapter(options);
      if (!adapter) return null;
      const all: Record<string, number> = {};
      for (const name in adapter.limits) {
        all[name] = (adapter.limits as unknown as Record<string, number>)[name];
      }
      return {
        info: {
          vendor: "test",
          architecture: "",
          device: "",
          description: "a test's GPU",
          isFallbackAdapter: false,
        },
        features: f16 ? adapter.features : new Set<string>(),
        limits: adapter.limits,
        async requestDevice(descriptor?: GPUDeviceDescriptor) {
          const device = await adapter.requestDevice(descriptor);
          // Runtimes give at least the default limits: less must be pretended.
          Object.defineProperty(device, "limits", { value: { ...all, ...limits } });
          devices.push(device);
          return device;
        },
      };
    },
  };
  return { gpu: gpu as unknown as GPU, devices };
}

/** What a device is asked, one word for each `queue.submit` and `mapAsync`, in order. */
export function watchQueue(device: GPUDevice): ("submit" | "map")[] {
  const events: ("submit" | "map")[] = [];
  const submit = device.queue.submit.bind(device.queue), createBuffer = device.createBuffer.bind(device);
  device.queue.submit = (commands) => {
    events.push("submit");
    submit(commands);
  };
  device.createBuffer = (descriptor) => {
    const buffer = createBuffer(descriptor), mapAsync = buffer.mapAsync.bind(buffer);
    buffer.mapAsync = (...args) => {
      events.push("map");
      return mapAsync(...args);
    };
    return buffer;
  };
  return events;
}
