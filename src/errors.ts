/**
 * Errors that a caller must tell apart. Everything else is a `TypeError` or a `RangeError`.
 *
 * @module
 */
export { quote } from "./quote.ts";

/** A model folder or checkpoint that cannot be used: missing, damaged, hostile, or of an unsupported kind. */
export class CheckpointError extends Error {
  override readonly name = "CheckpointError";
  readonly code = "ERR_CHECKPOINT";
}

/** A device that is not there, lacks what is needed, or gave wrong numbers. */
export class DeviceError extends Error {
  override readonly name = "DeviceError";
  readonly code = "ERR_DEVICE";
}

/** The run was stopped by its `AbortSignal`; name and code are those of the platforms' own abort errors. */
export class AbortError extends Error {
  override readonly name = "AbortError";
  readonly code = "ABORT_ERR";

  constructor(message = "Aborted", options?: ErrorOptions) {
    super(message, options);
  }
}
