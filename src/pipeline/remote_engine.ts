import type { ScriptWorker } from "../backend/script_worker.ts";
import { AbortError, DeviceError } from "../errors.ts";
import type { EngineLike, EngineOptions, EngineResult, EngineStep } from "./engine.ts";
import { type FromWorker, restoreError, type ToWorker } from "./messages.ts";
import type { ModelInfo, Request } from "./options.ts";
import { startWorker } from "./start_worker.ts";

type RunMessage = Extract<FromWorker, { type: "step" | "done" | "failed" }>;

/** An engine in a worker of its own, so that the caller's thread stays free. */
export class RemoteEngine implements EngineLike {
  readonly info: ModelInfo;
  readonly #worker: ScriptWorker;
  /** Takes the messages of the run under way; undefined stands for a worker that died. */
  #onMessage: ((message: RunMessage | undefined) => void) | undefined;
  #onDisposed: (() => void) | undefined;
  #dead: string | undefined;
  #nextId = 1;

  static async load(
    model: string,
    { signal, onProgress, ...options }: EngineOptions,
  ): Promise<RemoteEngine> {
    if (signal?.aborted) throw new AbortError();
    const abort = () => worker.postMessage({ type: "abort", id: 0 } satisfies ToWorker);
    const worker = startWorker(options.device ?? "auto");
    try {
      const info = await new Promise<ModelInfo>((resolve, reject) => {
        worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
          if (data.type === "ready") {
            const progress = onProgress !== undefined;
            worker.postMessage({ type: "load", model, options, progress } satisfies ToWorker);
            signal?.addEventListener("abort", abort, { once: true });
            if (signal?.aborted) abort();
          } else if (data.type === "progress") {
            try {
              onProgress?.(data.progress);
            } catch (error) {
              reject(error);
            }
          } else if (data.type === "loaded") resolve(data.info);
          else if (data.type === "failed") reject(restoreError(data.error));
        };
        worker.onerror = (event) => {
          event.preventDefault();
          reject(
            new DeviceError(`Cannot start the engine's worker: ${event.message || "it failed to load"}`),
          );
        };
      });
      return new RemoteEngine(worker, info);
    } catch (error) {
      worker.terminate();
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  private constructor(worker: ScriptWorker, info: ModelInfo) {
    this.#worker = worker;
    this.info = info;
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      if (data.type === "disposed") this.#onDisposed?.();
      else if (data.type === "step" || data.type === "done" || data.type === "failed") {
        this.#onMessage?.(data);
      }
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.#dead = event.message || "it stopped";
      this.#onMessage?.(undefined);
      this.#onDisposed?.();
    };
  }

  async *run(request: Request, signal?: AbortSignal): AsyncGenerator<EngineStep, EngineResult> {
    if (signal?.aborted) throw new AbortError();
    this.#assertAlive();
    const id = this.#nextId++;
    const inbox: (RunMessage | undefined)[] = [];
    let wake = () => {};
    this.#onMessage = (message) => {
      if (message && message.id !== id) return;
      inbox.push(message);
      wake();
    };
    const abort = () => this.#post({ type: "abort", id });
    signal?.addEventListener("abort", abort, { once: true });
    this.#post({ type: "run", id, request });
    let ended = false;
    const receive = async (): Promise<RunMessage> => {
      while (inbox.length === 0) await new Promise<void>((resolve) => wake = resolve);
      const message = inbox.shift();
      ended = message?.type !== "step";
      if (!message) throw new DeviceError(`The engine's worker died: ${this.#dead}`);
      return message;
    };
    try {
      for (;;) {
        const message = await receive();
        if (message.type === "done") return message.result;
        if (message.type === "failed") throw restoreError(message.error);
        yield message.step;
      }
    } finally {
      signal?.removeEventListener("abort", abort);
      // A consumer that left early: the engine is free again when it says so.
      if (!ended) {
        abort();
        while (!ended) await receive();
      }
      this.#onMessage = undefined;
    }
  }

  async dispose(): Promise<void> {
    if (this.#dead) return this.#worker.terminate();
    const disposed = new Promise<void>((resolve) => this.#onDisposed = resolve);
    this.#post({ type: "dispose" });
    await disposed;
    this.#dead = "it was disposed";
    this.#worker.terminate();
  }

  #post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  #assertAlive(): void {
    if (this.#dead) throw new DeviceError(`The engine's worker cannot be used: ${this.#dead}`);
  }
}
