/** The engine's side of `RemoteEngine`, in the worker that one starts. */
import { Engine } from "./engine.ts";
import { type FromWorker, plainError, type ToWorker } from "./messages.ts";

const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<ToWorker>) => void;
  postMessage(message: FromWorker, transfer?: Transferable[]): void;
  close(): void;
};

/** Answers a `RemoteEngine` for as long as this worker lives. */
export function serveEngine(): void {
  let engine: Engine | undefined;
  const running = new Map<number, AbortController>();

  scope.onmessage = async ({ data: message }) => {
    switch (message.type) {
      case "load": {
        const controller = new AbortController();
        running.set(0, controller);
        try {
          engine = await Engine.load(message.model, {
            ...message.options,
            signal: controller.signal,
            onProgress: message.progress
              ? (progress) => scope.postMessage({ type: "progress", progress })
              : undefined,
          });
          scope.postMessage({ type: "loaded", info: engine.info });
        } catch (error) {
          scope.postMessage({ type: "failed", error: plainError(error) });
        } finally {
          running.delete(0);
        }
        return;
      }
      case "run":
        return await run(message.id, message.request);
      case "abort":
        running.get(message.id)?.abort();
        return;
      case "dispose":
        await engine?.dispose();
        scope.postMessage({ type: "disposed" });
        scope.close();
        return;
      default:
        message satisfies never;
    }
  };

  async function run(id: number, request: Parameters<Engine["run"]>[0]): Promise<void> {
    const controller = new AbortController();
    running.set(id, controller);
    try {
      const steps = engine!.run(request, controller.signal);
      for (;;) {
        const next = await steps.next();
        if (next.done) {
          const { pictures } = next.value;
          return scope.postMessage(
            { type: "done", id, result: next.value },
            pictures.map((p) => p.data.buffer as ArrayBuffer),
          );
        }
        scope.postMessage({ type: "step", id, step: next.value });
      }
    } catch (error) {
      scope.postMessage({ type: "failed", id, error: plainError(error) });
    } finally {
      running.delete(id);
    }
  }

  scope.postMessage({ type: "ready" });
}
