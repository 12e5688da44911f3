/**
 * Errors that a caller must tell apart. Everything else is a `TypeError` or a `RangeError`.
 *
 * @module
 */
export { quote } from "./quote.ts";

/**
 * A model folder or checkpoint that cannot be used: missing, damaged, hostile, or of an unsupported kind.
 *
 * @example
 * ```ts
 * import { CheckpointError, loadPipeline } from "tome-edge";
 *
 * const error = await loadPipeline("no/such/folder").catch((error) => error);
 * console.log(error instanceof CheckpointError, error.code); // true ERR_CHECKPOINT
 * ```
 */
export class CheckpointError extends Error {
  /** Tells the class also where `instanceof` cannot. */
  override readonly name = "CheckpointError";
  /** The same for programs. */
  readonly code = "ERR_CHECKPOINT";
}

/**
 * A device that is not there, lacks what is needed, or gave wrong numbers.
 *
 * @example
 * ```ts
 * import { createBackend, DeviceError } from "tome-edge";
 *
 * const backend = await createBackend("gpu").catch((error) => {
 *   if (!(error instanceof DeviceError)) throw error;
 *   console.log(error.code); // ERR_DEVICE
 *   return createBackend("cpu");
 * });
 * await backend.dispose();
 * ```
 */
export class DeviceError extends Error {
  /** Tells the class also where `instanceof` cannot. */
  override readonly name = "DeviceError";
  /** The same for programs. */
  readonly code = "ERR_DEVICE";
}

/**
 * The run was stopped by its `AbortSignal`; name and code are those of the platforms' own abort errors.
 *
 * @example
 * ```ts
 * import { AbortError, loadPipeline } from "tome-edge";
 *
 * const pipe = await loadPipeline();
 * const run = pipe.generate({ prompt: "a red apple", signal: AbortSignal.timeout(1) });
 * console.log(await run.catch((error) => error) instanceof AbortError); // true
 * await pipe.dispose();
 * ```
 */
export class AbortError extends Error {
  /** As the platforms name theirs. */
  override readonly name = "AbortError";
  /** As Node's. */
  readonly code = "ABORT_ERR";

  /** "Aborted" by default. */
  constructor(message = "Aborted", options?: ErrorOptions) {
    super(message, options);
  }
}
