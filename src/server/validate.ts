import type { z } from "zod";
import { HttpError } from "./errors.ts";

/** The first thing wrong with a body, as an error: action, expected, found. */
export function invalid({ issues }: z.ZodError, status = 400): HttpError {
  const issue = issues[0];
  const param = issue.path.join(".");
  return new HttpError(
    status,
    param ? `Cannot use ${param}: ${issue.message}` : `Cannot use the body: ${issue.message}`,
    {
      code: "invalid_value",
      param: param || undefined,
    },
  );
}

/** A JSON body by its schema. Throws an `HttpError`. */
export async function readJson<T>(request: Request, schema: z.ZodType<T>, status = 400): Promise<T> {
  const type = request.headers.get("content-type") ?? "";
  if (!/^application\/([\w.-]+\+)?json\b/i.test(type)) {
    throw new HttpError(
      415,
      `Cannot read the body: expected content-type application/json, found ${type || "none"}`,
      {
        code: "unsupported_media_type",
      },
    );
  }
  let body: unknown;
  try {
    body = await request.json();
  } catch (cause) {
    if (cause instanceof HttpError) throw cause; // the body's limit
    throw new HttpError(400, "Cannot read the body: expected JSON", { code: "invalid_json", cause });
  }
  return conform(body, schema, status);
}

/** A value by its schema. Throws an `HttpError`. */
export function conform<T>(value: unknown, schema: z.ZodType<T>, status = 400): T {
  const { success, data, error } = schema.safeParse(value);
  if (!success) throw invalid(error, status);
  return data;
}
