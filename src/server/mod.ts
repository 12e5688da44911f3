/**
 * The HTTP server, to be mounted elsewhere. As a program it serves itself: `deno serve` and `bun run` take its
 * default export.
 *
 * @example
 * ```ts
 * import { createApp, Service } from "tome-edge/server";
 *
 * const service = await Service.start({ apiKey: "secret" });
 * await service.load();
 * const app = createApp(service); // a Hono app: app.fetch(request)
 * console.log((await app.request("/healthz")).status); // 200
 * await service.close();
 * ```
 *
 * @module
 */
export { createApp } from "./app.ts";
export type { App, AppEnv } from "./env.ts";
export type { ModelsOptions } from "./models.ts";
export { type RunningServer, serve, type ServeOptions } from "./serve.ts";
export type { ServerOptions } from "./options.ts";
export { Service } from "./service.ts";
