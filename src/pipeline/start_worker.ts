import process from "node:process";

/** What `worker.ts` imports that is not ours. */
const PACKAGES = ["@assemblyscript/loader", "zod/mini"];

interface BunGlobal {
  resolveSync(specifier: string, from: string): string;
}

/** Starts the engine's worker. See `worker_bun.ts` for why Bun has one of its own. */
export function startWorker(): Worker {
  const bun = (globalThis as { Bun?: BunGlobal }).Bun;
  if (!bun) return new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  const packages = Object.fromEntries(
    PACKAGES.map((name) => [name, bun.resolveSync(name, import.meta.dirname!)]),
  );
  const env = { ...process.env, TOME_EDGE_PACKAGES: JSON.stringify(packages) };
  return new Worker(new URL("./worker_bun.ts", import.meta.url), { type: "module", env } as WorkerOptions);
}
