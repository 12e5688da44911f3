/** Passes that one measurement may have; later ones are not timed. */
const MOST_PASSES = 2000;
const QUERY_RESOLVE = 0x200, COPY_SRC = 4, COPY_DST = 8, MAP_READ = 1;

/** A `GPU` whose devices time their compute passes, where they have `timestamp-query`. */
export class GpuTimer {
  /** To be handed to a backend instead of the real one. */
  readonly gpu: GPU;
  #device: GPUDevice | undefined;
  #queries: GPUQuerySet | undefined;
  #timed = 0;

  constructor(real: GPU) {
    this.gpu = {
      requestAdapter: async (options?: GPURequestAdapterOptions) => {
        const adapter = await real.requestAdapter(options);
        if (!adapter) return null;
        const requestDevice = adapter.requestDevice.bind(adapter);
        adapter.requestDevice = async (descriptor) => this.#watch(await requestDevice(descriptor));
        return adapter;
      },
    } as GPU;
  }

  /** The last device that was asked for. */
  get device(): GPUDevice {
    if (!this.#device) throw new Error("Cannot time: expected a device, found that none was asked for");
    return this.#device;
  }

  get hasTimestamps(): boolean {
    return this.#queries !== undefined;
  }

  reset(): void {
    this.#timed = 0;
  }

  /** Seconds that the device spent in passes since `reset`, NaN without timestamps; waits for it. */
  async passSeconds(): Promise<number> {
    const { device } = this, count = 2 * this.#timed;
    if (!this.#queries || count === 0) return NaN;
    const resolved = device.createBuffer({ size: 8 * count, usage: QUERY_RESOLVE | COPY_SRC });
    const staging = device.createBuffer({ size: 8 * count, usage: MAP_READ | COPY_DST });
    const encoder = device.createCommandEncoder();
    encoder.resolveQuerySet(this.#queries, 0, count, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, 8 * count);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(MAP_READ);
    const ticks = new BigUint64Array(staging.getMappedRange());
    let nanoseconds = 0;
    for (let i = 0; i < count; i += 2) nanoseconds += Number(ticks[i + 1] - ticks[i]);
    staging.unmap();
    for (const buffer of [resolved, staging]) buffer.destroy();
    return nanoseconds / 1e9;
  }

  #watch(device: GPUDevice): GPUDevice {
    this.#device = device;
    if (!device.features.has("timestamp-query")) return device;
    const queries = device.createQuerySet({ type: "timestamp", count: 2 * MOST_PASSES });
    this.#queries = queries;
    const createCommandEncoder = device.createCommandEncoder.bind(device);
    device.createCommandEncoder = (descriptor) => {
      const encoder = createCommandEncoder(descriptor);
      const beginComputePass = encoder.beginComputePass.bind(encoder);
      encoder.beginComputePass = (descriptor = {}) => {
        if (this.#timed >= MOST_PASSES) return beginComputePass(descriptor);
        const at = 2 * this.#timed++;
        return beginComputePass({
          ...descriptor,
          timestampWrites: { querySet: queries, beginningOfPassWriteIndex: at, endOfPassWriteIndex: at + 1 },
        });
      };
      return encoder;
    };
    return device;
  }
}
