/**
 * Errors that a caller must tell apart. Everything else is a `TypeError` or a `RangeError`.
 *
 * @module
 */

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

/**
 * A name from a file, fit for one line of a message: quoted, escaped (also the control and line separator
 * characters that JSON leaves alone, so that a hostile name cannot steer a terminal), cut after 100 characters.
 */
export function quote(name: string): string {
  const cut = name.length > 100 ? name.slice(0, 100) + "…" : name;
  return JSON.stringify(cut).replace(
    /[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g,
    (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"),
  );
}
