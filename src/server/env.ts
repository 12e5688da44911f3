import type { RequestIdVariables } from "hono/request-id";

/** What adapters hand in with a request, and what middleware leaves for handlers. */
export interface AppEnv {
  Bindings: { remoteAddress?: string };
  Variables: RequestIdVariables;
}
