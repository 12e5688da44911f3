import { Hono } from "hono";
import { requestId, type RequestIdVariables } from "hono/request-id";
import { errorResponse } from "./error_shapes.ts";
import { HttpError, toHttpError } from "./errors.ts";
import type { Service } from "./service.ts";

/** What middleware leaves for handlers. */
export interface AppEnv {
  Variables: RequestIdVariables;
}

/** The whole server as one fetch handler. */
export function createApp(service: Service): Hono<AppEnv> {
  const app = new Hono<AppEnv>();
  app.use(requestId());
  app.onError((error, c) => {
    const answer = toHttpError(error);
    return errorResponse(c.req.path, answer, c.get("requestId"));
  });
  app.notFound((c) => {
    const error = new HttpError(404, `There is nothing at ${c.req.method} ${c.req.path}`, {
      code: "not_found",
    });
    return errorResponse(c.req.path, error, c.get("requestId"));
  });
  app.get("/files/:name", (c) => {
    const file = service.files.get(c.req.param("name"));
    if (!file) throw new HttpError(404, "There is no such picture, or no longer", { code: "not_found" });
    return c.body(file.bytes, 200, {
      "content-type": file.type,
      "cache-control": "private, max-age=3600, immutable",
    });
  });
  return app;
}
