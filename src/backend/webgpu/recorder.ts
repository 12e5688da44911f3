import { DeviceError } from "../../errors.ts";
import { messageOf } from "./adapter.ts";
import { type Assemble, type Compiled, Pipelines } from "./pipelines.ts";
import { MAP_READ, USAGE } from "./pool.ts";
import type { Kernel } from "./runtime.ts";

/** What tests count. */
export interface Counters {
  submits: number;
  dispatches: number;
  maps: number;
  bindGroups: number;
  buffers: number;
  pipelines: number;
}

export interface Dispatch {
  readonly kernel: Kernel;
  readonly params: readonly number[];
  readonly buffers: readonly GPUBuffer[];
  readonly groups: readonly [number, number, number];
  /** Multiply-adds or values moved, roughly. */
  readonly work: number;
  /** Shapes, for messages. */
  readonly about: () => string;
}

interface Bind {
  readonly group: GPUBindGroup;
}

type Command =
  | { readonly type: "dispatch"; readonly compiled: Compiled; readonly dispatch: Dispatch }
  | { readonly type: "write"; readonly buffer: GPUBuffer; readonly offset: number; readonly data: Uint8Array }
  | {
    readonly type: "copy";
    readonly from: GPUBuffer;
    readonly at: number;
    readonly to: GPUBuffer;
    readonly bytes: number;
  }
  | { readonly type: "destroy"; readonly buffers: readonly GPUBuffer[] };

/** A submission ends after this many dispatches, so that the device starts while the host still records … */
const MAX_DISPATCHES = 64;
/** … or after this much work: 0.2 s at 0.1 TFLOP/s, where drivers reset a device after 2 s. */
const MAX_WORK = 2 ** 33;
/** Bind groups and parameter slots kept; beyond, all are dropped and made anew. */
const MAX_CACHED = 2 ** 15;
/** The device's alignment of uniform offsets, and the size of a slot for parameters. */
const SLOT = 256;
const SLOTS = 256;
/** Longest wait for the device to finish what was submitted. */
const READ_SECONDS = 600;

/**
 * The one way to the device's queue. Commands are kept in order and encoded when their pipelines are compiled,
 * which goes on for all of them at once; bind groups and parameters are found again by pipeline, buffers and words.
 * The first error stops everything: `check` throws it from then on.
 */
export class Recorder {
  readonly device: GPUDevice;
  readonly counters: Counters = {
    submits: 0,
    dispatches: 0,
    maps: 0,
    bindGroups: 0,
    buffers: 0,
    pipelines: 0,
  };
  readonly #pipelines: Pipelines;
  readonly #readSeconds: number;
  #commands: Command[] = [];
  #dispatches = 0;
  #work = 0;
  /** Ends when all that was flushed is submitted. */
  #submitted: Promise<void> | undefined;
  #error: DeviceError | undefined;
  #fail!: (error: DeviceError) => void;
  /** Rejects with the first error. */
  readonly #failed: Promise<never>;
  #disposed = false;
  readonly #checks = new Set<Promise<void>>();
  readonly #bound = new Map<string, Bind>();
  readonly #slots = new Map<string, { buffer: GPUBuffer; offset: number }>();
  #slabs: GPUBuffer[] = [];
  readonly #ids = new WeakMap<GPUBuffer, number>();
  #nextId = 0;

  constructor(device: GPUDevice, assemble: Assemble, readSeconds = READ_SECONDS) {
    this.device = device;
    this.#readSeconds = readSeconds;
    this.#pipelines = new Pipelines(device, assemble);
    this.#failed = new Promise((_, reject) => this.#fail = reject);
    this.#failed.catch(() => {}); // whoever reads hears of it
    device.lost.then(({ message }) => {
      if (!this.#disposed) {
        this.fail(new DeviceError(`The GPU was lost: ${message || "no reason given"}`));
      }
    });
    device.addEventListener?.("uncapturederror", (event) => {
      event.preventDefault();
      this.fail(new DeviceError(`The GPU refused a command: ${event.error.message}`));
    });
  }

  /** Throws the first error there was. */
  check(): void {
    if (this.#disposed) throw new DeviceError("Cannot use the GPU: the backend was disposed");
    if (this.#error) throw this.#error;
  }

  fail(error: DeviceError): void {
    if (this.#error || this.#disposed) return;
    this.#error = error;
    this.#commands = [];
    this.#fail(error);
  }

  createBuffer(bytes: number, usage: number, label: string): GPUBuffer {
    this.counters.buffers++;
    const { device } = this;
    const refuse = (what: string) =>
      new DeviceError(`Cannot make ${label} of ${bytes} bytes on the GPU: ${what}`);
    device.pushErrorScope("out-of-memory");
    device.pushErrorScope("validation");
    try {
      return device.createBuffer({ size: bytes, usage, label });
    } catch (error) {
      throw refuse(messageOf(error));
    } finally {
      for (let scope = 0; scope < 2; scope++) this.#watch((error) => refuse(error.message));
    }
  }

  dispatch(d: Dispatch): void {
    this.check();
    const compiled = this.#compiled(d.kernel);
    const most = this.device.limits.maxComputeWorkgroupsPerDimension;
    if (!d.groups.every((n) => Number.isInteger(n) && n >= 1 && n <= most)) {
      throw new RangeError(
        `Cannot run ${d.kernel.name} on ${d.about()}: expected 1 to ${most} workgroups, found ${d.groups}`,
      );
    }
    for (const at of compiled.writes) {
      if (d.buffers.indexOf(d.buffers[at]) !== d.buffers.lastIndexOf(d.buffers[at])) {
        throw new TypeError(
          `Cannot run ${d.kernel.name} on ${d.about()}: expected an output of its own, found buffer ${at} bound twice`,
        );
      }
    }
    this.#commands.push({ type: "dispatch", compiled, dispatch: d });
    this.counters.dispatches++;
    this.#work += d.work;
    if (++this.#dispatches >= MAX_DISPATCHES || this.#work >= MAX_WORK) this.flush();
  }

  /** Begins to compile kernels, all at once; who runs one of them waits for that one. */
  compile(kernels: Iterable<Kernel>): void {
    for (const kernel of kernels) this.#compiled(kernel);
  }

  /** Copies `data` at once. `offset` and its length are multiples of 4 bytes. */
  write(buffer: GPUBuffer, offset: number, data: Uint8Array): void {
    this.check();
    this.#commands.push({ type: "write", buffer, offset, data: data.slice() });
  }

  /** Destroys buffers after all that was recorded. */
  destroy(buffers: readonly GPUBuffer[]): void {
    if (buffers.length) this.#commands.push({ type: "destroy", buffers });
  }

  /** Bytes of a buffer after all that was recorded; `from` and `bytes` are multiples of 4. */
  async read(source: GPUBuffer, from: number, bytes: number): Promise<ArrayBuffer> {
    this.check();
    const staging = this.createBuffer(bytes, USAGE.MAP_READ | USAGE.COPY_DST, "a copy for the host");
    let mapped: Promise<unknown> = Promise.resolve();
    try {
      this.#commands.push({ type: "copy", from: source, at: from, to: staging, bytes });
      this.flush();
      await this.#orFail(this.settled(), "compile and submit");
      await this.#orFail(Promise.all(this.#checks), "report errors");
      this.check();
      this.counters.maps++;
      // Some runtimes throw where they should reject.
      mapped = Promise.resolve().then(() => staging.mapAsync(MAP_READ));
      await this.#orFail(mapped, "finish");
      await this.#orFail(Promise.all(this.#checks), "report errors");
      this.check();
      return staging.getMappedRange().slice(0);
    } finally {
      // Not while it is being mapped: bun-webgpu 0.1.7 throws past every handler then.
      mapped.catch(() => {}).then(() => staging.destroy());
    }
  }

  /** Everything flushed was submitted. */
  async settled(): Promise<void> {
    while (this.#submitted) await this.#submitted;
  }

  /** Submits what was recorded: now if all of it is compiled, else as soon as it is. */
  flush(): void {
    const commands = this.#commands;
    this.#commands = [];
    this.#dispatches = this.#work = 0;
    if (!commands.length) return;
    const waiting = new Set<Promise<void>>();
    for (const c of commands) {
      if (c.type === "dispatch" && !c.compiled.pipeline && !c.compiled.error) waiting.add(c.compiled.ready);
    }
    if (!this.#submitted && !waiting.size) return this.#submit(commands);
    const submitted = Promise.all([this.#submitted, ...waiting]).then(() => {
      if (!this.#error) this.#submit(commands);
      if (this.#submitted === submitted) this.#submitted = undefined;
    });
    this.#submitted = submitted;
  }

  dispose(): void {
    this.#disposed = true;
    this.#commands = [];
    this.device.destroy();
  }

  #compiled(kernel: Kernel): Compiled {
    const compiled = this.#pipelines.get(kernel);
    this.counters.pipelines = this.#pipelines.size;
    return compiled;
  }

  #submit(commands: readonly Command[]): void {
    const { device } = this;
    let encoder: GPUCommandEncoder | undefined, pass: GPUComputePassEncoder | undefined;
    const names = new Set<string>();
    const send = () => {
      pass?.end();
      if (encoder) {
        device.queue.submit([encoder.finish()]);
        this.counters.submits++;
      }
      encoder = pass = undefined;
    };
    device.pushErrorScope("validation");
    try {
      for (const c of commands) {
        switch (c.type) {
          case "dispatch": {
            if (c.compiled.error) throw c.compiled.error;
            const group = this.#bind(c.compiled, c.dispatch);
            encoder ??= device.createCommandEncoder();
            pass ??= encoder.beginComputePass();
            pass.setPipeline(c.compiled.pipeline!);
            pass.setBindGroup(0, group);
            pass.dispatchWorkgroups(...c.dispatch.groups);
            names.add(c.dispatch.kernel.name);
            break;
          }
          case "write":
            // The queue's own copy would overtake what is only encoded.
            send();
            device.queue.writeBuffer(c.buffer, c.offset, c.data as Uint8Array<ArrayBuffer>);
            break;
          case "copy":
            pass?.end();
            pass = undefined;
            encoder ??= device.createCommandEncoder();
            encoder.copyBufferToBuffer(c.from, c.at, c.to, 0, c.bytes);
            break;
          case "destroy":
            send();
            this.#forget();
            for (const buffer of c.buffers) buffer.destroy();
            break;
          default:
            c satisfies never;
        }
      }
      send();
    } catch (error) {
      this.fail(
        error instanceof DeviceError
          ? error
          : new DeviceError(`Cannot encode GPU commands: ${messageOf(error)}`),
      );
    } finally {
      this.#watch((error) =>
        new DeviceError(`The GPU refused ${[...names].join(", ") || "a copy"}: ${error.message}`)
      );
    }
  }

  #bind(compiled: Compiled, d: Dispatch): GPUBindGroup {
    const words = d.params.join();
    let key = `${compiled.id}:${words}`;
    for (const buffer of d.buffers) key += `:${this.#id(buffer)}`;
    const found = this.#bound.get(key);
    if (found) return found.group;
    if (this.#bound.size >= MAX_CACHED) this.#forget();
    const { device } = this;
    const slot = this.#slot(words, d.params);
    const entries: GPUBindGroupEntry[] = [
      { binding: 0, resource: { buffer: slot.buffer, offset: slot.offset, size: SLOT } },
      ...d.buffers.map((buffer, i) => ({ binding: i + 1, resource: { buffer } })),
    ];
    const about = `${d.kernel.name} on ${d.about()}`;
    device.pushErrorScope("validation");
    try {
      const group = device.createBindGroup({ label: about, layout: compiled.layout!, entries });
      this.counters.bindGroups++;
      this.#bound.set(key, { group });
      return group;
    } catch (error) {
      throw new DeviceError(`The GPU refused ${about}: ${messageOf(error)}`);
    } finally {
      this.#watch((error) => new DeviceError(`The GPU refused ${about}: ${error.message}`));
    }
  }

  /** A place in a uniform buffer that holds these words, and will until the caches are dropped. */
  #slot(key: string, words: readonly number[]): { buffer: GPUBuffer; offset: number } {
    const found = this.#slots.get(key);
    if (found) return found;
    if (words.length * 4 > SLOT) {
      throw new RangeError(
        `Cannot run a kernel: expected at most ${SLOT / 4} parameter words, found ${words.length}`,
      );
    }
    const at = this.#slots.size % SLOTS;
    if (at === 0) {
      this.#slabs.push(
        this.createBuffer(SLOTS * SLOT, USAGE.UNIFORM | USAGE.COPY_DST, "parameters"),
      );
    }
    const slot = { buffer: this.#slabs[this.#slabs.length - 1], offset: at * SLOT };
    this.#slots.set(key, slot);
    // Nothing encoded uses the slot yet, so that the queue's copy comes early enough.
    this.device.queue.writeBuffer(slot.buffer, slot.offset, Uint32Array.from(words, (w) => w >>> 0));
    return slot;
  }

  /** Bind groups keep buffers alive. Parameters stay: commands under way use them. */
  #forget(): void {
    this.#bound.clear();
    if (this.#slots.size < MAX_CACHED) return;
    this.#slots.clear(); // the old slabs live on in command buffers as long as these need them
    this.#slabs = [];
  }

  #id(buffer: GPUBuffer): number {
    let id = this.#ids.get(buffer);
    if (id === undefined) this.#ids.set(buffer, id = this.#nextId++);
    return id;
  }

  /** Pops an error scope; what it caught fails everything from then on. */
  #watch(describe: (error: GPUError) => DeviceError): void {
    const check: Promise<void> = this.device.popErrorScope().then(
      (error) => {
        if (error) this.fail(describe(error));
      },
      () => {}, // the device is lost, which is reported as such
    ).finally(() => this.#checks.delete(check));
    this.#checks.add(check);
  }

  async #orFail<T>(promise: Promise<T>, what: string): Promise<T> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new DeviceError(`The GPU did not ${what} within ${this.#readSeconds} s`)),
        this.#readSeconds * 1000,
      );
    });
    try {
      return await Promise.race([promise, this.#failed, late]);
    } catch (error) {
      if (error instanceof DeviceError) {
        this.fail(error);
        throw this.#error ?? error;
      }
      // A map that fails because the device was lost: the loss is the reason to give.
      await Promise.race([this.device.lost, new Promise((resolve) => setTimeout(resolve, 100))]);
      await Promise.resolve();
      throw this.#error ?? new DeviceError(`The GPU did not ${what}: ${messageOf(error)}`);
    } finally {
      clearTimeout(timer);
    }
  }
}
