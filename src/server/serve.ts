import { createApp } from "./app.ts";
import { listen } from "./listen.ts";
import type { ServerOptions } from "./options.ts";
import { Service } from "./service.ts";

/**
 * How a server is run, and where it listens.
 *
 * @example
 * ```ts
 * import { serve, type ServeOptions } from "tome-edge/server";
 *
 * const options: ServeOptions = { host: "127.0.0.1", port: 0, apiKey: "secret" };
 * const server = await serve(options);
 * await server.close();
 * ```
 */
export interface ServeOptions extends ServerOptions {
  /** 127.0.0.1 by default: only this machine. */
  host?: string;
  /** 0 picks a free one; 7860 by default. */
  port?: number;
}

/**
 * A server that listens.
 *
 * @example
 * ```ts
 * import { type RunningServer, serve } from "tome-edge/server";
 *
 * const server: RunningServer = await serve({ port: 0 });
 * console.log((await fetch(`${server.url}/readyz`)).ok); // true
 * await server.close();
 * ```
 */
export interface RunningServer {
  /** Where, the real port included. */
  readonly url: string;
  /** What it serves. */
  readonly service: Service;
  /** Accepts nothing more, finishes the job that runs or cancels it after `graceSeconds`, frees the model. */
  close(graceSeconds?: number): Promise<void>;
}

/**
 * Serves the app on this runtime, Deno or Bun. It listens before the model is loaded: `/readyz` tells when it is.
 *
 * @throws {DeviceError} on another runtime.
 * @throws {Error} where the port is in use.
 *
 * @example
 * ```ts
 * import { serve } from "tome-edge/server";
 *
 * const server = await serve({ port: 0, load: { device: "cpu" } }); // 0: a free port
 * const { data } = await (await fetch(`${server.url}/v1/models`)).json();
 * console.log(data[0].id); // emoji
 * await server.close();
 * ```
 */
export async function serve({ host = "127.0.0.1", port = 7860, ...options }: ServeOptions = {}): Promise<
  RunningServer
> {
  const service = await Service.start(options);
  const app = createApp(service);
  const server = listen((request, env) => app.fetch(request, env), { host, port });
  try {
    await service.load();
  } catch (error) {
    await server.close();
    throw error;
  }
  const name = host.includes(":") ? `[${host}]` : host;
  return {
    url: `http://${name}:${server.port}`,
    service,
    async close(graceSeconds = 30) {
      const closed = server.close();
      await service.close(graceSeconds);
      // What was answered may still be on its way; what hangs on after that is cut off.
      const timer = setTimeout(() => server.cut(), 1000);
      await closed.catch(() => {});
      clearTimeout(timer);
    },
  };
}
