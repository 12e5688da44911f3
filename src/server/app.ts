import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { contextStorage, tryGetContext } from "hono/context-storage";
import { cors } from "hono/cors";
import { requestId } from "hono/request-id";
import { secureHeaders } from "hono/secure-headers";
import { a1111 } from "./a1111/mod.ts";
import type { App, AppEnv } from "./env.ts";
import { errorResponse } from "./error_shapes.ts";
import { HttpError, toHttpError } from "./errors.ts";
import { accessLog, logJobs } from "./ops/access_log.ts";
import { auth } from "./ops/auth.ts";
import { metrics } from "./ops/metrics.ts";
import { nothingAt } from "./ops/methods.ts";
import { ownPagesOnly } from "./ops/origin.ts";
import { PictureRate } from "./ops/rate.ts";
import { openai } from "./openai/mod.ts";
import { page } from "./page/mod.ts";
import { plain } from "./plain/mod.ts";
import type { Service } from "./service.ts";

/**
 * The whole server as one fetch handler, a Hono app: one for each service.
 *
 * @example Under a path of an app of your own
 * ```ts
 * import { Hono } from "hono";
 * import { createApp, Service } from "tome-edge/server";
 *
 * const service = await Service.start();
 * const mine = new Hono().route("/pictures", createApp(service));
 * console.log((await mine.request("/pictures/healthz")).status); // 200
 * await service.close();
 * ```
 */
export function createApp(service: Service): App {
  const { options } = service;
  const app = new Hono<AppEnv>();
  const { printMetrics, registerMetrics } = metrics(service);
  logJobs(service);
  app.use(requestId(), accessLog(options), registerMetrics, contextStorage());
  app.use(secureHeaders({
    contentSecurityPolicy: {
      defaultSrc: ["'self'"],
      imgSrc: ["'self'", "blob:", "data:"],
      workerSrc: ["'self'", "blob:"],
      frameAncestors: ["'none'"],
      baseUri: ["'none'"],
    },
    crossOriginEmbedderPolicy: "require-corp",
    crossOriginOpenerPolicy: "same-origin",
    referrerPolicy: "no-referrer",
    // Plain HTTP on loopback is the normal case; whoever puts TLS before it sets this there.
    strictTransportSecurity: false,
  }));
  if (options.corsOrigins.length) {
    const origin = options.corsOrigins.includes("*") ? "*" : [...options.corsOrigins];
    app.use(cors({ origin, exposeHeaders: ["x-request-id", "retry-after", "location"] }));
  }
  app.use(ownPagesOnly(options.corsOrigins));
  if (options.apiKey !== undefined) app.use(auth(options.apiKey));
  app.use(bodyLimit({
    maxSize: options.maxBodyBytes,
    onError: () => {
      throw new HttpError(413, `The body is too large: expected at most ${options.maxBodyBytes} bytes`, {
        code: "body_too_large",
      });
    },
  }));
  if (options.imagesPerMinute > 0) {
    const rate = new PictureRate(options.imagesPerMinute);
    service.guard = ({ images }) => {
      rate.take(tryGetContext<AppEnv>()?.env?.remoteAddress ?? "", images);
    };
  }
  app.onError((error, c) => {
    const answer = toHttpError(error);
    const id = c.get("requestId");
    if (answer.status === 500) {
      const { stack } = answer.cause instanceof Error ? answer.cause : error;
      options.log?.(JSON.stringify({ time: new Date().toISOString(), level: "error", id, stack }));
    }
    return errorResponse(c, answer);
  });
  app.notFound((c) => errorResponse(c, nothingAt(app, c.req.method, c.req.path)));

  app.get("/healthz", (c) => c.text("ok"));
  app.get("/readyz", (c) => {
    const { ready, models } = service;
    const { name, device } = models.info ?? {};
    return c.json({ ready, model: name ?? null, device: device ?? null }, ready ? 200 : 503);
  });
  app.get("/metrics", printMetrics);
  app.get("/files/:name", (c) => {
    const file = service.files.get(c.req.param("name"));
    if (!file) throw new HttpError(404, "There is no such picture, or no longer", { code: "not_found" });
    return c.body(file.bytes, 200, {
      "content-type": file.type,
      "cache-control": "private, max-age=3600, immutable",
      "cross-origin-resource-policy": "cross-origin",
    });
  });
  app.route("/v1", openai(service));
  app.route("/sdapi/v1", a1111(service));
  app.route("/", plain(service));
  app.route("/", page());
  return app;
}
