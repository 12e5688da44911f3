import type { MiddlewareHandler } from "hono";
import type { AppEnv } from "../env.ts";
import type { Settled } from "../options.ts";
import type { Service } from "../service.ts";

/** One line of JSON for each request; never what it asked for. */
export function accessLog({ log }: Pick<Settled, "log">): MiddlewareHandler<AppEnv> {
  return async (c, next) => {
    const start = performance.now();
    await next();
    log?.(JSON.stringify({
      time: new Date().toISOString(),
      id: c.get("requestId"),
      client: c.env?.remoteAddress,
      method: c.req.method,
      path: c.req.path,
      status: c.res.status,
      ms: Math.round(performance.now() - start),
    }));
  };
}

/** One line for each job that ended; what it asked for only if the server is told so. */
export function logJobs({ options, onEnd }: Service): void {
  onEnd.add((job) => {
    options.log?.(JSON.stringify({
      time: new Date().toISOString(),
      job: job.id,
      dialect: job.options.dialect,
      state: job.state,
      reason: job.reason,
      pictures: job.result?.pictures.length,
      waited: job.startedAt === undefined ? undefined : (job.startedAt - job.createdAt) / 1000,
      seconds: job.startedAt === undefined ? undefined : (job.endedAt! - job.startedAt) / 1000,
      error: job.state === "failed" ? job.error?.message : undefined,
      request: options.logPrompts ? job.options.request : undefined,
    }));
  });
}
