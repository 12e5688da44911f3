import type { DeviceName } from "../backend/mod.ts";
import { type ScriptWorker, startScript } from "../backend/script_worker.ts";

/**
 * The function that a bundle is, and where the bundle came from; the function's text is the worker's script. See
 * tools/build.
 */
declare const tomeEdge: (here: string) => { serveEngine(): void };
declare const HERE: string;

/** Starts the engine's worker, in a bundle: takes the place of `start_worker.ts` there. */
export function startWorker(_device: DeviceName): ScriptWorker {
  return startScript(`(${tomeEdge})(${JSON.stringify(HERE)}).serveEngine();`, "tome-edge");
}
