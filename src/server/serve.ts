import { createApp } from "./app.ts";
import { listen } from "./listen.ts";
import type { ServerOptions } from "./options.ts";
import { Service } from "./service.ts";

export interface ServeOptions extends ServerOptions {
  /** 127.0.0.1 by default: only this machine. */
  host?: string;
  /** 0 picks a free one; 7860 by default. */
  port?: number;
}

export interface RunningServer {
  readonly url: string;
  readonly service: Service;
  /** Accepts nothing more, finishes the job that runs or cancels it after `graceSeconds`, frees the model. */
  close(graceSeconds?: number): Promise<void>;
}

/** Serves the app on this runtime, Deno or Bun. It listens before the model is loaded: `/readyz` tells when it is. */
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
