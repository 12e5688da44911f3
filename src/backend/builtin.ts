/** Node's modules, on the runtimes that have them. Not imported, so that browsers can load what asks for them. */
const process = (globalThis as { process?: typeof import("node:process") }).process;

/** For types: `Builtins["node:fs"]` is what that module exports. */
interface Builtins {
  "node:fs": typeof import("node:fs");
  "node:module": typeof import("node:module");
  "node:os": typeof import("node:os");
  "node:url": typeof import("node:url");
  "node:worker_threads": typeof import("node:worker_threads");
}

/** The module, or undefined where there is none: in browsers. */
export function builtin<Name extends keyof Builtins>(name: Name): Builtins[Name] | undefined {
  return process?.getBuiltinModule?.(name) as Builtins[Name] | undefined;
}

/**
 * What to import to have a package that users install beside ours: from its own place, since a worker that was
 * started from a Blob has none to look from. The name itself where that is not known.
 */
export function locatePackage(name: string, from: string): string {
  const module = builtin("node:module");
  if (!module || !from.startsWith("file:")) return name;
  try {
    return builtin("node:url")!.pathToFileURL(module.createRequire(from).resolve(name)).href;
  } catch {
    return name; // the import says what is wrong
  }
}
