import { DeviceError } from "../errors.ts";

export type Fetch = (request: Request, env: { remoteAddress?: string }) => Response | Promise<Response>;

export interface Listening {
  port: number;
  /** Stops accepting, and resolves when the requests under way are answered, … */
  close(): Promise<void>;
  /** … which this cuts off. */
  cut(): void;
}

/** Serves HTTP with what the runtime has. Throws an error that names the address where that is taken. */
export function listen(fetch: Fetch, { host, port }: { host: string; port: number }): Listening {
  try {
    if ("Deno" in globalThis) return listenDeno(fetch, host, port);
    if ("Bun" in globalThis) return listenBun(fetch, host, port);
  } catch (error) {
    const { code, message } = error as Error & { code?: string };
    const taken = code === "EADDRINUSE" || error instanceof Error && error.name === "AddrInUse";
    throw new Error(`Cannot listen on ${host}:${port}: ${taken ? "it is in use" : message}`, {
      cause: error,
    });
  }
  throw new DeviceError("Cannot serve here: expected Deno or Bun");
}

function listenDeno(fetch: Fetch, hostname: string, port: number): Listening {
  const controller = new AbortController();
  const server = Deno.serve(
    { hostname, port, signal: controller.signal, onListen: () => {} },
    (request, info) => fetch(request, { remoteAddress: (info.remoteAddr as Deno.NetAddr).hostname }),
  );
  return {
    port: (server.addr as Deno.NetAddr).port,
    close: () => server.shutdown(),
    cut: () => controller.abort(),
  };
}

interface BunServer {
  port: number;
  stop(closeActive?: boolean): Promise<void>;
  requestIP(request: Request): { address: string } | null;
}

function listenBun(fetch: Fetch, hostname: string, port: number): Listening {
  // deno-lint-ignore no-explicit-any
  const server: BunServer = (globalThis as any).Bun.serve({
    hostname,
    port,
    // Bun closes a silent request after this many seconds; a picture may take longer, and 0 means never.
    idleTimeout: 0,
    // The app has its own limit, with its own answer.
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    fetch: (request: Request, server: BunServer) =>
      fetch(request, { remoteAddress: server.requestIP(request)?.address }),
  });
  return { port: server.port, close: () => server.stop(), cut: () => void server.stop(true) };
}
