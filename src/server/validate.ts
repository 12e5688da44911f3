import type { z } from "zod";
import { HttpError } from "./errors.ts";

/** The first thing wrong with a body, as an error: action, expected, found. */
export function invalid({ issues }: z.ZodError, status = 400): HttpError {
  let issue = issues[0];
  const path = [...issue.path];
  // Of alternatives that do not say what was expected, the first is what was meant; the other is null.
  while (issue.code === "invalid_union" && issue.message === "Invalid input" && issue.errors[0]?.length) {
    path.push(...(issue = issue.errors[0][0]).path);
  }
  const param = path.join(".");
  return new HttpError(status, `Cannot use ${param || "the body"}: ${describe(issue)}`, {
    code: "invalid_value",
    param: param || undefined,
  });
}

/** "expected int, found 1.5"; zod says of what kind the value was, and not which. */
function describe({ message, input }: z.core.$ZodIssue): string {
  const text = message.replace(/^Invalid (input|option): /, "");
  if (typeof input !== "string" && typeof input !== "number" && typeof input !== "boolean") return text;
  const found = JSON.stringify(typeof input === "string" ? input.slice(0, 80) : input);
  return `${text.replace(/, received \w+$/, "")}, found ${found}`;
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
  if (isDeep(body)) {
    throw new HttpError(
      400,
      `Cannot read the body: expected JSON nested at most ${MOST_NESTED} deep, found more`,
      {
        code: "invalid_json",
      },
    );
  }
  return conform(body, schema, status);
}

/** No client nests its body deeper; `JSON.stringify`, which recurses, must be able to write it again. */
const MOST_NESTED = 100;

function isDeep(body: unknown): boolean {
  let level = [body];
  for (let depth = 0; level.length; depth++) {
    if (depth > MOST_NESTED) return true;
    const next: unknown[] = [];
    for (const value of level) {
      if (typeof value !== "object" || value === null) continue;
      for (const part of Object.values(value)) if (typeof part === "object") next.push(part);
    }
    level = next;
  }
  return false;
}

/** A value by its schema. Throws an `HttpError`. */
export function conform<T>(value: unknown, schema: z.ZodType<T>, status = 400): T {
  const { success, data, error } = schema.safeParse(value, { reportInput: true });
  if (!success) throw invalid(error, status);
  return data;
}
