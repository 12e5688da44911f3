import { builtin } from "../../backend/builtin.ts";
import { codecFiles } from "./codecs.ts";
import type { PictureWorker, WorkerData } from "./worker_messages.ts";

/** What `worker.ts` imports that is not ours, and from where. */
const PACKAGES = [
  ["fflate"],
  ["@jsquash/jpeg/encode.js"],
  ["@jsquash/jpeg/decode.js"],
  ["@jsquash/webp/encode.js"],
  ["@jsquash/webp/decode.js"],
  ["wasm-feature-detect", "@jsquash/webp/encode.js"],
];

interface BunGlobal {
  resolveSync(specifier: string, from: string): string;
}

/** Starts the picture worker: a thread of Node's kind, which all runtimes that serve have. Undefined where there are none. */
export function startPictureWorker(): PictureWorker | undefined {
  const threads = builtin("node:worker_threads");
  if (!threads) return undefined;
  const data: WorkerData = { codecs: codecFiles() };
  const bun = (globalThis as { Bun?: BunGlobal }).Bun;
  if (bun) {
    const here = import.meta.dirname!;
    data.packages = Object.fromEntries(PACKAGES.map(([name, by]) => {
      return [name, bun.resolveSync(name, by ? bun.resolveSync(by, here) : here)];
    }));
  }
  return new threads.Worker(new URL("./worker.ts", import.meta.url), {
    workerData: data,
    name: "tome-edge pictures",
  });
}
