import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { AppEnv } from "./env.ts";
import type { HttpError } from "./errors.ts";

/** Answers with an error in the shape of the dialect that the path belongs to. */
export function errorResponse(c: Context<AppEnv>, error: HttpError): Response {
  const { path } = c.req;
  const json = path.startsWith("/v1/")
    ? openaiError(error)
    : path.startsWith("/sdapi/")
    ? a1111Error(error)
    : problem(error, c.get("requestId"));
  const type = "title" in json ? "application/problem+json" : "application/json";
  return c.body(JSON.stringify(json), error.status as ContentfulStatusCode, {
    "content-type": type,
    ...error.headers,
  });
}

/** OpenAI's; all four keys are always there, since its clients read them all. */
export function openaiError({ status, message, code, param }: HttpError) {
  const type = status === 401
    ? "authentication_error"
    : status === 403
    ? "permission_error"
    : status === 404
    ? "not_found_error"
    : status === 429
    ? "rate_limit_error"
    : status >= 500
    ? "server_error"
    : "invalid_request_error";
  return { error: { message, type, param: param ?? null, code: code ?? null } };
}

/** AUTOMATIC1111's. */
function a1111Error({ message, code, param }: HttpError) {
  return { error: code ?? "error", detail: message, body: param ?? "", errors: message };
}

/** Our own: RFC 9457, problem details. */
export function problem({ status, message, code, param }: HttpError, requestId: string) {
  return {
    type: "about:blank",
    title: code ?? "error",
    status,
    detail: message,
    param,
    request_id: requestId,
  };
}
