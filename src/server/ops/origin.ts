import type { MiddlewareHandler } from "hono";
import type { AppEnv } from "../env.ts";
import { HttpError } from "../errors.ts";

/**
 * Refuses what a page of another site asks for without being asked itself: a form or a plain-text POST needs no
 * consent of CORS. Browsers say where a request comes from; programs say nothing, and may.
 */
export function ownPagesOnly(allowed: readonly string[]): MiddlewareHandler<AppEnv> {
  return async (c, next) => {
    const site = c.req.header("sec-fetch-site"), origin = c.req.header("origin") ?? "";
    const harmless = c.req.method === "GET" || c.req.method === "HEAD" || c.req.method === "OPTIONS";
    const elsewhere = site === "cross-site" || site === "same-site"; // another port of this machine is "same-site"
    if (elsewhere && !harmless && !allowed.includes("*") && !allowed.includes(origin)) {
      throw new HttpError(403, `Pages of ${origin || "other sites"} may not ask this server: see --cors`, {
        code: "foreign_origin",
      });
    }
    await next();
  };
}
