import assert from "node:assert/strict";
import { test } from "node:test";
import { createApp } from "../../src/server/app.ts";
import type { Drawing } from "../../src/server/drawing.ts";
import { HostedFiles } from "../../src/server/files.ts";
import { PictureRate } from "../../src/server/ops/rate.ts";
import type { ServerOptions } from "../../src/server/options.ts";
import { Service } from "../../src/server/service.ts";

/** An app whose model is not loaded, and what it logs. */
async function start(options: ServerOptions = {}) {
  const log: string[] = [];
  const service = await Service.start({ log: (line) => log.push(line), ...options });
  return { app: createApp(service), service, log };
}

const NOTHING: Drawing = { pictures: [], stats: [], warnings: [] };

test("every answer has a request id and the security headers", async () => {
  const { app } = await start();
  for (const path of ["/healthz", "/nothing", "/v1/nothing"]) {
    const { headers } = await app.request(path);
    assert.match(headers.get("x-request-id")!, /^[\w-]{10,}$/);
    assert.equal(headers.get("x-content-type-options"), "nosniff");
    assert.match(headers.get("content-security-policy")!, /default-src 'self'.*frame-ancestors 'none'/);
    assert.equal(headers.get("cross-origin-opener-policy"), "same-origin");
    assert.equal(headers.get("cross-origin-embedder-policy"), "require-corp");
    assert.equal(headers.get("access-control-allow-origin"), null);
  }
});

test("an error has the shape of the dialect that its path belongs to", async () => {
  const { app } = await start();
  const body = async (path: string) => await (await app.request(path)).json();
  assert.deepEqual(await body("/v1/nothing"), {
    error: {
      message: "There is nothing at GET /v1/nothing",
      type: "not_found_error",
      param: null,
      code: "not_found",
    },
  });
  assert.deepEqual(Object.keys(await body("/sdapi/v1/nothing")), ["error", "detail", "body", "errors"]);
  const problem = await app.request("/nothing", { headers: { "x-request-id": "mine" } });
  assert.equal(problem.headers.get("content-type"), "application/problem+json");
  const { status, request_id } = await problem.json();
  assert.deepEqual([status, request_id], [404, "mine"]);
});

test("another method than a path has is 405, which says what it has", async () => {
  const { app } = await start();
  for (
    const [path, allow] of [["/generate", "POST"], ["/jobs/x", "GET, DELETE"], [
      "/sdapi/v1/options",
      "GET, POST",
    ]]
  ) {
    const answer = await app.request(path, { method: "PUT" });
    assert.deepEqual([answer.status, answer.headers.get("allow")], [405, allow]);
  }
  assert.equal((await app.request("/jobs/x/y", { method: "PUT" })).status, 404);
});

test("a key is asked for as Bearer or Basic, but not by probes and hosted pictures", async () => {
  const { app, service } = await start({ apiKey: "sésame" });
  const status = async (path: string, authorization?: string) =>
    (await app.request(path, { headers: authorization ? { authorization } : {} })).status;
  const basic = (text: string) => "Basic " + btoa(String.fromCharCode(...new TextEncoder().encode(text)));
  assert.equal(await status("/healthz"), 200);
  assert.equal(await status(service.files.add({ bytes: new Uint8Array(1), type: "image/png" })), 200);
  for (
    const wrong of [undefined, "Bearer", "Bearer no", "sésame", basic("sésame"), basic("a:no"), "Basic %%%"]
  ) {
    assert.equal(await status("/metrics", wrong), 401, wrong);
  }
  // Header values are bytes; fetch takes them as Latin-1.
  assert.equal(await status("/metrics", basic("anyone:sésame")), 200);
  assert.equal((await start({ apiKey: "key" })).app !== app, true);
  const other = (await start({ apiKey: "key" })).app;
  assert.equal((await other.request("/metrics", { headers: { authorization: "Bearer key" } })).status, 200);
  const refused = await app.request("/v1/models");
  assert.match(refused.headers.get("www-authenticate")!, /^Basic /);
  assert.equal((await refused.json()).error.type, "authentication_error");
});

test("other origins may call only when they are named", async () => {
  const { app } = await start({ corsOrigins: ["https://a.example"], apiKey: "key" });
  const allowed = async (origin: string) => {
    const headers = { origin, "access-control-request-method": "POST" };
    const { headers: answer } = await app.request("/generate", { method: "OPTIONS", headers });
    return answer.get("access-control-allow-origin");
  };
  assert.equal(await allowed("https://a.example"), "https://a.example");
  assert.equal(await allowed("https://b.example"), null);
});

test("a page elsewhere cannot make the server draw, with or without CORS's consent", async () => {
  const { app } = await start({ corsOrigins: ["https://a.example"] });
  app.post("/draw", (c) => c.text("drawn"));
  const post = async (headers: Record<string, string>) =>
    (await app.request("/draw", { method: "POST", body: "x", headers })).status;
  assert.equal(await post({}), 200);
  assert.equal(await post({ "sec-fetch-site": "same-origin", origin: "http://localhost" }), 200);
  assert.equal(await post({ "sec-fetch-site": "cross-site", origin: "https://a.example" }), 200);
  assert.equal(await post({ "sec-fetch-site": "cross-site", origin: "https://b.example" }), 403);
  assert.equal(await post({ "sec-fetch-site": "same-site", origin: "http://localhost:1" }), 403);
});

test("a body beyond the limit is refused, declared or not", async () => {
  const { app } = await start({ maxBodyBytes: 1000 });
  app.post("/echo", async (c) => c.text(await c.req.text()));
  const body = new Uint8Array(2000);
  const declared = await app.request("/echo", {
    method: "POST",
    body,
    headers: { "content-length": "2000" },
  });
  assert.equal(declared.status, 413);
  const stream = new ReadableStream({
    start(controller) {
      for (let i = 0; i < 20; i++) controller.enqueue(body.subarray(0, 100));
      controller.close();
    },
  });
  const init = { method: "POST", body: stream, duplex: "half" } as RequestInit;
  assert.equal((await app.request("/echo", init)).status, 413);
  assert.equal((await app.request("/echo", { method: "POST", body: "short" })).status, 200);
});

test("what was not foreseen is a 500 without its reason, which the log has under the request's id", async () => {
  const { app, log } = await start();
  app.get("/broken", () => {
    throw new TypeError("secret.path is undefined");
  });
  const answer = await app.request("/broken", { headers: { "x-request-id": "r1" } });
  assert.equal(answer.status, 500);
  assert.doesNotMatch(await answer.text(), /secret|\.ts|at /);
  const line = log.map((l) => JSON.parse(l)).find((l) => l.level === "error");
  assert.equal(line.id, "r1");
  assert.match(line.stack, /secret\.path is undefined/);
});

test("readiness, metrics and the log follow the jobs; prompts stay out of it unless asked for", async () => {
  for (const logPrompts of [false, true]) {
    const { app, service, log } = await start({ logPrompts });
    assert.equal((await app.request("/readyz")).status, 503);
    const work = () => Promise.resolve(NOTHING);
    const job = service.submit({ dialect: "test", images: 2, work, request: { prompt: "a secret" } });
    await job.ended;
    const text = await (await app.request("/metrics")).text();
    assert.match(text, /tome_jobs_total\{dialect="test",state="done"\} 1/);
    assert.match(text, /tome_queue_jobs\{state="waiting"\} 0/);
    assert.match(text, /http_requests_total\{[^}]*route="\/readyz"[^}]*status="503"[^}]*\} 1/);
    const lines = log.map((l) => JSON.parse(l));
    assert.equal(lines.find((l) => l.job)?.state, "done");
    assert.equal(lines.find((l) => l.path === "/readyz")?.status, 503);
    assert.equal(log.join().includes("a secret"), logPrompts);
  }
});

test("pictures per minute: a minute's worth at once, then at a steady pace, for each client", () => {
  let now = 0;
  const rate = new PictureRate(6, () => now);
  for (let i = 0; i < 3; i++) rate.take("a", 2);
  assert.throws(() => rate.take("a", 1), { status: 429, headers: { "retry-after": "10" } });
  rate.take("b", 6);
  now = 10_000;
  rate.take("a", 1);
  assert.throws(() => rate.take("a", 1), { status: 429 });
  now = 100_000;
  rate.take("a", 100); // more than a minute's worth needs all of it
  assert.throws(() => rate.take("a", 1), { status: 429 });
});

test("the rate limit answers requests, by the client's address", async () => {
  const { app, service } = await start({ imagesPerMinute: 1 });
  app.post("/draw", async (c) => {
    await service.submit({ dialect: "test", images: 1, work: () => Promise.resolve(NOTHING) }).finished();
    return c.text("ok");
  });
  const post = async (remoteAddress: string) =>
    (await app.request("/draw", { method: "POST" }, { remoteAddress })).status;
  assert.deepEqual([await post("1"), await post("1"), await post("2")], [200, 429, 200]);
});

test("hosted pictures end with their time, and the oldest make room", () => {
  const now = Date.now;
  try {
    const files = new HostedFiles({ maxBytes: 10, keepSeconds: 60 });
    const add = () => files.add({ bytes: new Uint8Array(4), type: "image/webp" }).slice("/files/".length);
    const [a, b] = [add(), add()];
    assert.match(a, /^[0-9a-f-]{36}\.webp$/);
    assert(files.get(a));
    const c = add();
    assert.deepEqual([a, b, c].map((name) => !!files.get(name)), [false, true, true]);
    assert.equal(files.bytes, 8);
    Date.now = () => now() + 61_000;
    assert.deepEqual([b, c].map((name) => !!files.get(name)), [false, false]);
    assert.equal(files.bytes, 0);
  } finally {
    Date.now = now;
  }
});
