import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

/** A request as the server saw it. */
export interface Seen {
  method: string;
  path: string;
  range: string | undefined;
  authorization: string | undefined;
}

/** How the server misbehaves. Numbers of requests count those of one file, from 1. */
export interface Manners {
  /** 200 and the whole file, whatever was asked for. */
  noRanges?: boolean;
  /** No Content-Length: chunked. */
  noLength?: boolean;
  /** No Content-Range with a 206, as a page of another origin sees it. */
  noContentRange?: boolean;
  noHead?: boolean;
  validator?: (request: number) => Record<string, string>;
  /** Breaks the connection after so many bytes. */
  cut?: (request: number) => number | undefined;
  /** Answers this status. */
  status?: (request: number, path: string) => number | undefined;
  /** Answers and then sends nothing. */
  hang?: (request: number) => boolean;
  /** Gives fewer bytes than asked for, and says so. */
  most?: number;
  /** Gives the bytes of another place, and says so. */
  shift?: number;
  /** Bytes that the file has lost by then. */
  shorter?: (request: number) => number;
  redirect?: (path: string) => string;
  html?: (path: string) => boolean;
  gzip?: boolean;
  /** Sent with every answer. */
  headers?: Record<string, string>;
}

export interface TestServer {
  url: string;
  seen: Seen[];
  close(): Promise<void>;
}

type Files = string | ReadonlyMap<string, Uint8Array>;

/** Serves a folder, or files in memory, on loopback. */
export async function serveFiles(files: Files, manners: Manners = {}): Promise<TestServer> {
  const seen: Seen[] = [];
  const counts = new Map<string, number>();
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url!, "http://localhost").pathname).slice(1);
    const { range, authorization } = request.headers;
    seen.push({ method: request.method!, path, range, authorization });
    const count = (counts.get(path) ?? 0) + 1;
    counts.set(path, count);
    try {
      const data = typeof files === "string" ? await readFile(join(files, path)) : files.get(path);
      answer({ request, response, path, data, count }, manners);
    } catch {
      answer({ request, response, path, data: undefined, count }, manners);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    seen,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections?.();
      await closed;
    },
  };
}

interface Call {
  request: IncomingMessage;
  response: ServerResponse;
  path: string;
  data: Uint8Array | undefined;
  count: number;
}

function answer({ request, response, path, data, count }: Call, manners: Manners): void {
  const end = (status: number, headers: Record<string, string | number> = {}, body?: Uint8Array) => {
    response.writeHead(status, { ...manners.headers, ...headers });
    response.end(request.method === "HEAD" ? undefined : body);
  };
  const status = manners.status?.(count, path);
  if (status !== undefined) return end(status, { "retry-after": "0", "content-length": 0 });
  if (manners.redirect) return end(302, { location: manners.redirect(path), "content-length": 0 });
  if (manners.html?.(path)) {
    return end(
      200,
      { "content-type": "text/html; charset=utf-8" },
      new TextEncoder().encode("<!doctype html>"),
    );
  }
  if (!data) return end(404, { "content-length": 0 });
  if (manners.noHead && request.method === "HEAD") return end(405, { "content-length": 0 });
  const file = data.subarray(0, data.length - (manners.shorter?.(count) ?? 0));
  const headers: Record<string, string | number> = manners.validator?.(count) ?? { etag: '"one"' };
  const asked = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
  if (manners.gzip) {
    const body = gzipSync(file);
    return end(200, { ...headers, "content-encoding": "gzip", "content-length": body.length }, body);
  }
  let body = file, code = 200;
  if (asked && !manners.noRanges) {
    const from = Number(asked[1]) + (manners.shift ?? 0);
    if (from >= file.length) return end(416, { "content-range": `bytes */${file.length}` });
    body = file.subarray(
      from,
      Math.min(Number(asked[2]) + 1, file.length, from + (manners.most ?? Infinity)),
    );
    code = 206;
    if (!manners.noContentRange) {
      headers["content-range"] = `bytes ${from}-${from + body.length - 1}/${file.length}`;
    }
  }
  if (!manners.noLength) headers["content-length"] = body.length;
  const cut = request.method === "HEAD" ? undefined : manners.cut?.(count);
  const hang = manners.hang?.(count);
  if (cut === undefined && !hang) return end(code, headers, body);
  response.writeHead(code, headers);
  response.write(body.subarray(0, hang ? 1 : cut), () => {
    // Bun gives nothing of an answer that breaks off at once.
    if (!hang) setTimeout(() => response.destroy(), 20);
  });
}
