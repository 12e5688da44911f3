import process from "node:process";
import type { DeviceName } from "../backend/mod.ts";
import type { ScriptWorker } from "../backend/script_worker.ts";
import { mayHaveGpu } from "../backend/webgpu/bun.ts";

/** What `worker.ts` imports that is not ours. */
const PACKAGES = ["@assemblyscript/loader", "zod/mini"];
/** And on the GPU: the optional package, and what that imports. */
const GPU_PACKAGES = ["bun-webgpu", `bun-webgpu-${process.platform}-${process.arch}/index.ts`];

interface BunGlobal {
  resolveSync(specifier: string, from: string): string;
}

/** Starts the engine's worker. See `worker_bun.ts` for why Bun has one of its own. */
export function startWorker(device: DeviceName): ScriptWorker {
  const bun = (globalThis as { Bun?: BunGlobal }).Bun;
  if (!bun) return new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  const resolve = (name: string) => [name, bun.resolveSync(name, import.meta.dirname!)];
  const packages = Object.fromEntries(PACKAGES.map(resolve));
  if (device === "gpu" || device === "auto" && mayHaveGpu()) {
    try {
      Object.assign(packages, Object.fromEntries(GPU_PACKAGES.map(resolve)));
    } catch {
      // It is optional; the backend says what is missing.
    }
  }
  const env = { ...process.env, TOME_EDGE_PACKAGES: JSON.stringify(packages) };
  return new Worker(new URL("./worker_bun.ts", import.meta.url), { type: "module", env } as WorkerOptions);
}
