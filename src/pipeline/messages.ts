import type { LoadProgress } from "../checkpoint/http_file.ts";
import { AbortError, CheckpointError, DeviceError } from "../errors.ts";
import type { EngineOptions, EngineResult, EngineStep } from "./engine.ts";
import type { ModelInfo, Request } from "./options.ts";

/** What the caller's side says to the worker. */
export type ToWorker =
  /** Of id 0, for `abort`. Functions and signals do not cross: progress and abort come by message. */
  | { type: "load"; model: string; options: Omit<EngineOptions, "signal" | "onProgress">; progress: boolean }
  | { type: "run"; id: number; request: Request }
  | { type: "abort"; id: number }
  | { type: "dispose" };

/** What the worker answers. */
export type FromWorker =
  | { type: "ready" }
  | { type: "progress"; progress: LoadProgress }
  | { type: "loaded"; info: ModelInfo }
  | { type: "step"; id: number; step: EngineStep }
  | { type: "done"; id: number; result: EngineResult }
  | { type: "failed"; id?: number; error: PlainError }
  | { type: "disposed" };

export interface PlainError {
  name: string;
  message: string;
  stack?: string;
}

const ERRORS = { AbortError, CheckpointError, DeviceError, RangeError, TypeError, Error };

export function plainError(error: unknown): PlainError {
  const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
  return { name, message, stack };
}

/** An error of the class that was thrown on the other side, with the stack from there. */
export function restoreError({ name, message, stack }: PlainError): Error {
  const error = new (ERRORS[name as keyof typeof ERRORS] ?? Error)(message);
  if (stack) error.stack = stack;
  return error;
}
