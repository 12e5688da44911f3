import type { Hono } from "hono";

/**
 * What adapters hand in with a request, and what middleware leaves for handlers.
 *
 * @example
 * ```ts
 * import { type App, type AppEnv, createApp, Service } from "tome-edge/server";
 *
 * const service = await Service.start({ imagesPerMinute: 10 });
 * const app: App = createApp(service);
 * const env: AppEnv["Bindings"] = { remoteAddress: "192.0.2.1" }; // whose pictures are counted
 * console.log((await app.request("/healthz", {}, env)).status); // 200
 * await service.close();
 * ```
 */
export interface AppEnv {
  /** `remoteAddress`: who asks, for the limit on pictures in a minute. */
  Bindings: { remoteAddress?: string };
  /** The id of the request, in its answer and in the log. */
  Variables: { requestId: string };
}

/**
 * A Hono app. Its documentation is Hono's.
 *
 * @internal `deno doc --lint` asks for the documentation of any type named here, a package's too.
 */
export type App = Hono<AppEnv>;
