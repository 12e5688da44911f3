import { AbortError, DeviceError } from "../errors.ts";

export interface HttpErrorOptions {
  /** For programs, in snake case. */
  code?: string;
  /** The field at fault. */
  param?: string;
  headers?: Record<string, string>;
  cause?: unknown;
}

/** What a request is answered with when it fails: every dialect writes it in its own shape. */
export class HttpError extends Error {
  override readonly name = "HttpError";
  readonly code: string | undefined;
  readonly param: string | undefined;
  readonly headers: Record<string, string>;

  constructor(readonly status: number, message: string, options: HttpErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.code = options.code;
    this.param = options.param;
    this.headers = options.headers ?? {};
  }
}

/** The same error for every dialect. What was not foreseen becomes a 500 that says nothing of its inside. */
export function toHttpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  if (error instanceof RangeError || error instanceof TypeError) {
    // Both are the engine's own, about its options; a TypeError of the runtime's is a defect of ours.
    if (/^Cannot /.test(error.message)) {
      return new HttpError(400, error.message, { code: "invalid_value", cause: error });
    }
  }
  if (error instanceof AbortError) {
    return new HttpError(409, error.message, { code: "cancelled", cause: error });
  }
  if (error instanceof DeviceError) {
    return new HttpError(503, error.message, { code: "device_error", cause: error });
  }
  return new HttpError(500, "The server failed; its log has the reason under this request's id", {
    code: "internal_error",
    cause: error,
  });
}
