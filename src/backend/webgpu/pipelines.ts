import { DeviceError } from "../../errors.ts";
import { messageOf } from "./adapter.ts";
import type { Kernel } from "./runtime.ts";

/** A kernel on its way to a pipeline. */
export interface Compiled {
  readonly kernel: Kernel;
  readonly id: number;
  /** Settles, and never rejects: a kernel that does not compile leaves `error`. */
  readonly ready: Promise<void>;
  /** Which of the bound buffers, from 0, it writes. */
  readonly writes: readonly number[];
  pipeline?: GPUComputePipeline;
  layout?: GPUBindGroupLayout;
  error?: DeviceError;
}

/** A kernel's text for the device, and how many lines of it come before the kernel's own. */
export type Assemble = (kernel: Kernel) => { code: string; before: number };

/** Compiles each kernel once. */
export class Pipelines {
  readonly #device: GPUDevice;
  readonly #assemble: Assemble;
  readonly #compiled = new Map<string, Compiled>();
  /** By identity, which wrappers that keep their kernels as constants make fast. */
  readonly #known = new WeakMap<Kernel, Compiled>();

  constructor(device: GPUDevice, assemble: Assemble) {
    this.#device = device;
    this.#assemble = assemble;
  }

  get size(): number {
    return this.#compiled.size;
  }

  get(kernel: Kernel): Compiled {
    const known = this.#known.get(kernel);
    if (known) return known;
    const key = `${kernel.name} ${kernel.entry ?? "main"} ${JSON.stringify(kernel.constants ?? {})}`;
    let found = this.#compiled.get(key);
    if (!found) {
      found = this.#compile(kernel, this.#compiled.size);
      this.#compiled.set(key, found);
    }
    if (found.kernel.source !== kernel.source) {
      throw new TypeError(`Cannot run ${key}: expected the source it was compiled from, found another`);
    }
    this.#known.set(kernel, found);
    return found;
  }

  #compile(kernel: Kernel, id: number): Compiled {
    const device = this.#device;
    const { name, source, entry = "main", constants } = kernel;
    const start = async () => {
      const { code, before } = this.#assemble(kernel);
      const refuse = (what: string) =>
        new DeviceError(`Cannot compile ${name}.wgsl (${JSON.stringify(constants ?? {})}): ${what}`);
      try {
        device.pushErrorScope("validation");
        const module = device.createShaderModule({ label: name, code });
        const invalid = device.popErrorScope();
        const descriptor = {
          label: name,
          layout: "auto" as const,
          compute: { module, entryPoint: entry, constants },
        };
        // A shader that is invalid makes the pipeline so: the shader's own message is the one to show.
        const made = device.createComputePipelineAsync(descriptor).then(
          (pipeline) => ({ pipeline }),
          (error) => ({ error }),
        );
        const shaderError = await invalid;
        const result = await made;
        if (shaderError || "error" in result) {
          if (await isLost(device)) {
            compiled.error = new DeviceError(`The GPU was lost before ${name} was compiled`);
            return;
          }
          const place = await messagesOf(module, before);
          const said = shaderError?.message ?? messageOf((result as { error: unknown }).error);
          const inFile = said.replace(/:(\d+):(\d+)/g, (_, line, column) => `:${line - before}:${column}`);
          compiled.error = refuse(place || inFile);
          return;
        }
        compiled.pipeline = result.pipeline;
        compiled.layout = result.pipeline.getBindGroupLayout(0);
      } catch (error) {
        compiled.error = refuse(messageOf(error));
      }
    };
    let settle!: () => void;
    const ready = new Promise<void>((resolve) => settle = resolve);
    const written = source.matchAll(/@binding\((\d+)\)\s*var<storage,\s*read_write>/g);
    const writes = Array.from(written, ([, binding]) => Number(binding) - 1);
    const compiled: Compiled = { kernel, id, ready, writes };
    start().then(settle);
    return compiled;
  }
}

/** Whether a device is lost already. */
function isLost(device: GPUDevice): Promise<boolean> {
  return Promise.race([device.lost.then(() => true), new Promise<boolean>((go) => setTimeout(go, 0, false))]);
}

/** What the compiler says, by line of the file; "" where the runtime does not tell. */
async function messagesOf(module: GPUShaderModule, before: number): Promise<string> {
  if (!module.getCompilationInfo) return "";
  try {
    const { messages } = await module.getCompilationInfo();
    return messages.filter((m) => m.type === "error")
      .map((m) => `line ${m.lineNum - before}, column ${m.linePos}: ${m.message}`).join("; ");
  } catch {
    return "";
  }
}
