import type { Hono } from "hono";
import type { AppEnv } from "../env.ts";
import { HttpError } from "../errors.ts";

/** What to say where nothing answers: 405 where another method would be answered, else 404. */
export function nothingAt({ routes }: Hono<AppEnv>, method: string, path: string): HttpError {
  const allowed = routes
    .filter((route) => route.method !== "ALL" && patternOf(route.path).test(path)) // "ALL" is middleware
    .map((route) => route.method);
  if (!allowed.length) {
    return new HttpError(404, `There is nothing at ${method} ${path.slice(0, 200)}`, { code: "not_found" });
  }
  const allow = [...new Set(allowed)].join(", ");
  return new HttpError(405, `Cannot use ${method} at ${path.slice(0, 200)}: expected ${allow}`, {
    code: "method_not_allowed",
    headers: { allow },
  });
}

function patternOf(path: string): RegExp {
  const parts = path.split("/").map((part) =>
    part.startsWith(":") ? "[^/]+" : part.replace(/[^\w-]/g, "\\$&")
  );
  return new RegExp(`^${parts.join("/")}$`);
}
