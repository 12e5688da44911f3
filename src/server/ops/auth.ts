import type { MiddlewareHandler } from "hono";
import { timingSafeEqual } from "hono/utils/buffer";
import type { AppEnv } from "../env.ts";
import { HttpError } from "../errors.ts";

/** What anybody may fetch: probes, and pictures whose names cannot be guessed (OpenAI's clients send no key there). */
const OPEN = /^\/(healthz|readyz|files\/[^/]+)$/;

/** The key as a Bearer token, as OpenAI's clients send it, or as the password of Basic, as browsers and AUTOMATIC1111's do. */
export function auth(key: string): MiddlewareHandler<AppEnv> {
  return async (c, next) => {
    if (OPEN.test(c.req.path) || c.req.method === "OPTIONS") return await next();
    if (!await timingSafeEqual(presented(c.req.header("authorization")), key)) {
      throw new HttpError(401, "Cannot serve this without the right API key: send it as Bearer or Basic", {
        code: "invalid_api_key",
        headers: { "www-authenticate": 'Basic realm="tome-edge", charset="UTF-8"' },
      });
    }
    await next();
  };
}

function presented(header: string | undefined): string {
  const [, scheme = "", value = ""] = /^(\S+) +(\S+)$/.exec(header ?? "") ?? [];
  if (/^bearer$/i.test(scheme)) return value;
  if (!/^basic$/i.test(scheme)) return "";
  try {
    const text = new TextDecoder().decode(Uint8Array.from(atob(value), (c) => c.charCodeAt(0)));
    return text.includes(":") ? text.slice(text.indexOf(":") + 1) : "";
  } catch {
    return "";
  }
}
