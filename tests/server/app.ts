import { createApp } from "../../src/server/app.ts";
import type { ServerOptions } from "../../src/server/options.ts";
import { Service } from "../../src/server/service.ts";

export type Started = Awaited<ReturnType<typeof startApp>>;

/** An app with the embedded model on the CPU, and what it logs. */
export async function startApp(options: ServerOptions = {}) {
  const log: string[] = [];
  const service = await Service.start({
    log: (line) => log.push(line),
    load: { device: "cpu", threads: 1 },
    ...options,
  });
  const app = createApp(service);
  const post = (path: string, body: unknown, init: RequestInit & { accept?: string } = {}) => {
    const { accept, headers, ...rest } = init;
    return Promise.resolve(app.request(path, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        ...accept && { accept },
        ...headers as Record<string, string>,
      },
      body: typeof body === "string" ? body : JSON.stringify(body),
      ...rest,
    }));
  };
  return { app, service, log, post };
}

export interface SseEvent {
  event: string;
  // deno-lint-ignore no-explicit-any
  data: any;
}

/** The events of a stream, as they come; comments are left out. */
export async function* sse(answer: Response): AsyncGenerator<SseEvent> {
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
        const fields = Object.fromEntries(
          text.slice(0, end).split("\n").map((line) => [line.split(":", 1)[0], line.replace(/^\w*: ?/, "")]),
        );
        if (fields.data !== undefined) {
          yield { event: fields.event, data: fields.data === "[DONE]" ? undefined : JSON.parse(fields.data) };
        }
      }
    }
  } finally {
    await reader.cancel();
  }
}

export function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}
