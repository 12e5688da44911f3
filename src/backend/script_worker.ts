/**
 * Workers from the text of their script: browsers refuse a script from another origin, and a bundle has no other
 * file. Web Workers, and on Node, which has none, its worker threads.
 *
 * @module
 */
import { builtin } from "./builtin.ts";

/** What a `Worker` is to the side that started it. */
export interface ScriptWorker {
  onmessage: ((event: MessageEvent) => void) | null;
  onerror: ((event: ErrorEvent) => void) | null;
  postMessage(message: unknown): void;
  terminate(): void;
  /** Lets the program end although the worker lives; browsers have no such call and need none. */
  unref?(): void;
}

const hasWebWorkers = () => typeof Worker !== "undefined";

export function canStartWorkers(): boolean {
  return hasWebWorkers() || builtin("node:worker_threads") !== undefined;
}

/** Never revoked: a worker fetches its script when it gets to it, and there are two of them in all. */
const urls = new Map<string, string>();

/** Starts a worker. Its script finds `onmessage`, `postMessage` and `close` in `globalThis`, on Node too. */
export function startScript(script: string, name: string): ScriptWorker {
  if (!hasWebWorkers()) return new NodeWorker(script, name);
  let url = urls.get(script);
  if (!url) urls.set(script, url = URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
  return new Worker(url, { type: "module", name });
}

/** Makes a worker thread of Node a Web Worker, as far as our scripts go. */
const NODE_PRELUDE = `{
  const { parentPort } = require("node:worker_threads");
  globalThis.postMessage = (message, transfer) => parentPort.postMessage(message, transfer);
  globalThis.close = () => parentPort.close();
  parentPort.on("message", (data) => globalThis.onmessage({ data }));
}
`;

class NodeWorker implements ScriptWorker {
  onmessage: ScriptWorker["onmessage"] = null;
  onerror: ScriptWorker["onerror"] = null;
  readonly #thread: import("node:worker_threads").Worker;

  constructor(script: string, name: string) {
    const { Worker } = builtin("node:worker_threads")!;
    this.#thread = new Worker(NODE_PRELUDE + script, { eval: true, name });
    this.#thread.on("message", (data) => this.onmessage?.({ data } as MessageEvent));
    this.#thread.on("error", (error) => {
      const message = error instanceof Error ? error.message : String(error);
      this.onerror?.({ message, preventDefault() {} } as ErrorEvent);
    });
  }

  postMessage(message: unknown): void {
    this.#thread.postMessage(message);
  }

  terminate(): void {
    void this.#thread.terminate();
  }

  unref(): void {
    this.#thread.unref();
  }
}
