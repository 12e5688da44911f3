/**
 * What the place that runs this lets us do.
 *
 * @module
 */
interface Permissions {
  querySync(descriptor: { name: string; path?: string; variable?: string }): { state: string };
}

const { Deno, Bun, process, navigator, document, WorkerGlobalScope } = globalThis as {
  Deno?: { permissions: Permissions };
  Bun?: unknown;
  process?: { versions?: { node?: string }; env: Record<string, string | undefined> };
  navigator?: { userAgent?: string };
  document?: unknown;
  WorkerGlobalScope?: unknown;
};

const inWorkerd = navigator?.userAgent === "Cloudflare-Workers";

/** Deno, Bun or Node: there are files. */
export const inNodeLike = Boolean(Deno || Bun || process?.versions?.node) && !inWorkerd;

/** A page or a worker of one. */
export const inBrowser = !inNodeLike && !inWorkerd && Boolean(document || WorkerGlobalScope);

/** Whether Deno permits it already; asking it would stop a program that has a terminal. */
export function mayUse(name: "read" | "write", path: string): boolean {
  return !Deno || Deno.permissions.querySync({ name, path }).state === "granted";
}

/** An environment variable, where there are any and reading them is permitted. */
export function variable(name: string): string | undefined {
  if (!inNodeLike) return undefined;
  if (Deno && Deno.permissions.querySync({ name: "env", variable: name }).state !== "granted") {
    return undefined;
  }
  return process?.env[name];
}
