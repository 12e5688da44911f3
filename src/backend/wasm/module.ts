import { instantiate } from "@assemblyscript/loader";
import type { Kernels } from "../../../asm/pkg/kernels.d.ts";
import { SCRATCH, SCRATCH_BYTES } from "../../../asm/layout.ts";
import { DeviceError } from "../../errors.ts";
import { canStartWorkers } from "../script_worker.ts";
import { kernelBytes } from "./kernel_bytes.ts";

/**
 * Which build of the kernels: `fast` uses relaxed SIMD, `strict` gives the same bits on every engine.
 *
 * @example
 * ```ts
 * import { createBackend, type KernelChoice } from "tome-edge";
 *
 * const kernels: KernelChoice = "strict";
 * const backend = await createBackend("cpu", { kernels, threads: 1 });
 * console.log(backend.description);
 * await backend.dispose();
 * ```
 */
export type KernelChoice = "fast" | "strict";

export interface Instance {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly kernels: Kernels;
  /** fast: relaxed SIMD. strict: the same bits on every engine. */
  readonly choice: KernelChoice;
  /** Whether the memory is shared, so that threads can join. */
  readonly shared: boolean;
}

const PAGE = 65536;

/** Whether this place lets threads share memory: a page must be cross-origin isolated for it. */
export function canShareMemory(): boolean {
  if (typeof SharedArrayBuffer === "undefined" || !canStartWorkers()) return false;
  return globalThis.crossOriginIsolated !== false; // undefined outside browsers
}

/**
 * The kernels, compiled and instantiated: `choice`, or the fastest that this engine compiles; with shared memory
 * where `shared` asks for it. `given` is a module from asm/pkg/ that was compiled elsewhere (Cloudflare's workers
 * cannot compile bytes).
 */
export async function loadKernels(
  { choice, shared, given, threads }: {
    choice?: KernelChoice;
    shared: boolean;
    given?: WebAssembly.Module;
    threads: number;
  },
): Promise<Instance> {
  const module = given ?? await compile(choice, shared);
  if (!given) return await start(module, shared, threads);
  // Which of the four modules it is shows only in the memory that it accepts.
  if (shared) {
    try {
      return await start(module, true, threads);
    } catch (error) {
      if (!(error instanceof WebAssembly.LinkError)) throw error;
    }
  }
  try {
    return await start(module, false, 1);
  } catch (cause) {
    throw new DeviceError(
      "Cannot start the kernels: expected a module from asm/pkg/ that this place can run, found another",
      { cause },
    );
  }
}

async function start(module: WebAssembly.Module, shared: boolean, threads: number): Promise<Instance> {
  const memory = createMemory(shared, Math.ceil((SCRATCH + threads * SCRATCH_BYTES) / PAGE));
  const { exports } = await instantiate(module, { env: { memory } });
  const kernels = exports as unknown as Kernels;
  return { module, memory, kernels, shared, choice: kernels.isFast() !== 0 ? "fast" : "strict" };
}

/** Shared memory reserves its maximum: where 4 GiB are refused (phones), less may do. */
function createMemory(shared: boolean, initial: number): WebAssembly.Memory {
  if (!shared) return new WebAssembly.Memory({ initial });
  for (let maximum = 65536;; maximum >>= 1) {
    try {
      return new WebAssembly.Memory({ initial, maximum, shared });
    } catch (cause) {
      if (maximum / 2 < Math.max(initial, 8192)) {
        throw new DeviceError(
          `Cannot reserve shared memory: expected up to ${maximum * PAGE} bytes, found none`,
          { cause },
        );
      }
    }
  }
}

async function compile(choice: KernelChoice | undefined, shared: boolean): Promise<WebAssembly.Module> {
  for (const kind of choice ? [choice] : ["fast", "strict"] as const) {
    const bytes = await kernelBytes(shared ? kind : `${kind}.single`);
    if (WebAssembly.validate(bytes)) return await WebAssembly.compile(bytes);
  }
  throw new DeviceError(
    choice === "fast"
      ? "Cannot load the fast kernels: expected an engine with relaxed SIMD, found one without"
      : "Cannot load the kernels: expected an engine with WebAssembly SIMD, found one without",
  );
}
