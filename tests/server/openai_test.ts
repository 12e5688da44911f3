import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import OpenAI, { toFile } from "openai";
import { encodePng } from "../../src/image/png.ts";
import { serve } from "../../src/server/serve.ts";
import type { RunningServer } from "../../src/server/serve.ts";
import { decodeImage } from "../../src/server/images/decode.ts";
import { bytesOf, startApp, type Started } from "./app.ts";

let server: Started;
let client: OpenAI;
before(async () => {
  server = await startApp({ maxWaiting: 2 });
  client = new OpenAI({
    apiKey: "none",
    baseURL: "http://tome.example/v1",
    maxRetries: 0,
    fetch: (url, init) => Promise.resolve(server.app.request(url as string, init)),
  });
});
after(() => server.service.close());

const BODY = { prompt: "a red apple", size: "64x64" as const, seed: 3, steps: 2 };
const LIMITS = { maxPixels: 1 << 20 };
/** The client's types know neither our sizes nor our extras. */
// deno-lint-ignore no-explicit-any
const body = (more: Record<string, unknown> = {}) => ({ ...BODY, ...more }) as any;

/** A picture whose left half is red and whose right half is transparent or green. */
function halves(transparent: boolean, width = 64) {
  const data = new Uint8ClampedArray(width * 64 * 4).fill(255);
  for (let p = 0; p < width * 64; p++) {
    const right = p % width >= width / 2;
    data.set(right ? [0, 200, 0, transparent ? 0 : 255] : [200, 0, 0, 255], p * 4);
  }
  return encodePng({ width, height: 64, data });
}
const file = (bytes: Uint8Array<ArrayBuffer>) => toFile(bytes, "picture.png", { type: "image/png" });

test("the real client generates with the default response_format and fetches the URL", async () => {
  const { created, data, usage, size, output_format } = await client.images.generate(body());
  assert(Math.abs(created - Date.now() / 1000) < 60);
  assert.deepEqual([size, output_format], ["64x64", "png"]);
  assert.equal(usage!.output_tokens, 16 * 16);
  assert.equal(usage!.total_tokens, usage!.input_tokens + usage!.output_tokens);
  assert.match(data![0].url!, /^http:\/\/tome\.example\/files\/[\w-]+\.png$/);
  const answer = await server.app.request(data![0].url!);
  const picture = await decodeImage(new Uint8Array(await answer.arrayBuffer()), LIMITS);
  assert.deepEqual([picture.width, picture.height], [64, 64]);
  assert.match(picture.parameters!, /^a red apple\nSteps: 2, .*Seed: 3/);
});

test("edits: what is transparent in the mask, or without one in the picture, is drawn; the rest stays", async () => {
  const [image, hole] = [await file(halves(false)), await file(halves(true))];
  for (const given of [{ image, mask: hole }, { image: hole }, { image: [image], mask: hole }]) {
    const { data } = await client.images.edit({
      ...body({ response_format: "b64_json", steps: 4 }),
      ...given,
    });
    const { data: pixels } = await decodeImage(bytesOf(data![0].b64_json!), LIMITS);
    const red = (x: number, y: number) => [...pixels.subarray((y * 64 + x) * 4, (y * 64 + x) * 4 + 3)];
    // The autoencoder changes colours a little.
    for (const [x, y] of [[4, 4], [8, 40], [14, 60]]) {
      const [r, g, b] = red(x, y);
      assert(r > 150 && g < 60 && b < 60, `${x}, ${y}: ${red(x, y)}`);
    }
  }
});

test("a stream: partial pictures, then the picture; the client sees its events", async () => {
  for (const edit of [false, true]) {
    const asked = body({ stream: true, partial_images: 2, steps: 6, output_format: "jpeg" });
    const stream = edit
      ? await client.images.edit({ ...asked, image: await file(halves(false)), strength: 1 })
      : await client.images.generate(asked);
    const events = [];
    // deno-lint-ignore no-explicit-any
    for await (const event of stream as any) events.push(event);
    const kind = edit ? "image_edit" : "image_generation";
    assert.deepEqual(events.map(({ type, partial_image_index }) => [type, partial_image_index]), [
      [`${kind}.partial_image`, 0],
      [`${kind}.partial_image`, 1],
      [`${kind}.completed`, undefined],
    ]);
    for (const { b64_json, size, output_format, created_at, background, quality } of events) {
      assert.equal((await decodeImage(bytesOf(b64_json), LIMITS)).width, 64);
      assert.deepEqual([size, output_format, background, quality], ["64x64", "jpeg", "opaque", "auto"]);
      assert(created_at > 1.7e9);
    }
    assert.notEqual(events[0].b64_json, events[1].b64_json);
    assert(events[2].usage.total_tokens > 0);
  }
});

test("the client tells the errors apart", async () => {
  const rejects = (more: Record<string, unknown>, kind: new (...args: never[]) => Error, fields: object) =>
    assert.rejects(client.images.generate(body(more)), (error) => {
      assert(error instanceof kind, `${error}`);
      // deno-lint-ignore no-explicit-any
      const { status, code, param, type, requestID } = error as any;
      assert.match(requestID, /[\w-]{10,}/);
      assert.deepEqual({ status, code, param, type }, fields);
      return true;
    });
  const type = "invalid_request_error", code = "invalid_value";
  await rejects({ prompt: "" }, OpenAI.BadRequestError, { status: 400, code, param: "prompt", type });
  await rejects({ n: 11 }, OpenAI.BadRequestError, { status: 400, code, param: "n", type });
  await rejects({ size: "big" }, OpenAI.BadRequestError, { status: 400, code, param: "size", type });
  await rejects({ response_format: "text" }, OpenAI.BadRequestError, {
    status: 400,
    code,
    param: "response_format",
    type,
  });
  await rejects({ token_merging: { ratio: 0.9 } }, OpenAI.BadRequestError, {
    status: 400,
    code,
    param: "token_merging",
    type,
  });
  await rejects({ size: "4000x4000" }, OpenAI.BadRequestError, {
    status: 400,
    code: "limit_exceeded",
    param: "size",
    type,
  });
  await rejects({ model: "sdxl" }, OpenAI.NotFoundError, {
    status: 404,
    code: "model_not_found",
    param: "model",
    type: "not_found_error",
  });
  const busy = Array.from({ length: 3 }, () => client.images.generate(body({ steps: 100 })));
  for (const request of busy) request.catch(() => {});
  while (server.service.queue.waiting.length < 2) await new Promise((resolve) => setTimeout(resolve, 2));
  await rejects({}, OpenAI.RateLimitError, {
    status: 429,
    code: "queue_full",
    param: null,
    type: "rate_limit_error",
  });
  for (const job of server.service.queue.jobs) job.cancel();
  await assert.rejects(busy[0], OpenAI.ConflictError);
  const { app } = await startApp({ apiKey: "right" });
  const stranger = new OpenAI({
    apiKey: "wrong",
    baseURL: "http://tome.example/v1",
    fetch: (url, init) => Promise.resolve(app.request(url as string, init)),
  });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
  const elsewhere = { headers: { "sec-fetch-site": "cross-site", origin: "https://a.example" } };
  await assert.rejects(client.images.generate(body(), elsewhere), OpenAI.PermissionDeniedError);
  await assert.rejects(client.images.generate(body({ prompt: "x".repeat(40e6) })), { status: 413 });
  const closed = await startApp();
  await closed.service.close();
  const late = client.withOptions({
    fetch: (url, init) => Promise.resolve(closed.app.request(url as string, init)),
  });
  await assert.rejects(late.images.generate(body()), (error) => {
    assert(error instanceof OpenAI.InternalServerError);
    assert.deepEqual([error.status, error.code, error.type], [503, "shutdown", "server_error"]);
    return true;
  });
});

test("a stream that fails ends with an error that the client throws", async () => {
  const stream = await client.images.generate(body({ stream: true, steps: 150 }));
  const events = (async () => {
    // deno-lint-ignore no-explicit-any
    for await (const _ of stream as any);
  })();
  while (!server.service.queue.running?.step) await new Promise((resolve) => setTimeout(resolve, 2));
  server.service.queue.running.cancel();
  await assert.rejects(events, /The job was cancelled/);
});

test("models are listed and found", async () => {
  const { data } = await client.models.list();
  assert.deepEqual(data.map(({ id, object, owned_by }) => [id, object, owned_by]), [[
    "emoji",
    "model",
    "tome-edge",
  ]]);
  assert.equal((await client.models.retrieve("emoji")).id, "emoji");
  await assert.rejects(client.models.retrieve("other"), OpenAI.NotFoundError);
});

test("over a real port: the URL is fetched; a client that aborts stops its job, and the next is served", async () => {
  const running: RunningServer = await serve({ port: 0, load: { device: "cpu", threads: 1 } });
  try {
    const real = new OpenAI({ apiKey: "none", baseURL: `${running.url}/v1`, maxRetries: 0 });
    const { data } = await real.images.generate(body());
    assert.equal((await (await fetch(data![0].url!)).arrayBuffer()).byteLength > 1000, true);
    const controller = new AbortController();
    const leaving = real.images.generate(body({ steps: 150 }), { signal: controller.signal });
    const left = assert.rejects(leaving, OpenAI.APIUserAbortError);
    while (!running.service.queue.running?.step) await new Promise((resolve) => setTimeout(resolve, 5));
    const job = running.service.queue.running;
    controller.abort();
    await left;
    await job.ended;
    assert.equal(job.reason, "disconnected");
    assert((await real.images.generate(body())).data![0].url);
    assert.deepEqual(running.service.queue.jobs.map(({ state }) => state), ["done", "cancelled", "done"]);
  } finally {
    await running.close(0);
  }
});
