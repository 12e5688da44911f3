import assert from "node:assert/strict";
import { test } from "node:test";
import type { Job } from "../../src/server/queue.ts";
import { sse, startApp } from "./app.ts";

/** A server whose engine is busy until it is told otherwise; no model is loaded. */
async function busy(jobs: number) {
  const server = await startApp({ maxWaiting: 2 });
  const finish: (() => void)[] = [];
  const work = () => new Promise<never>((_, reject) => finish.push(() => reject(new Error("enough"))));
  for (let i = 0; i < jobs; i++) server.service.submit({ dialect: "test", images: 1, work });
  return { ...server, finish, jobs: server.service.queue.jobs };
}

async function release({ jobs, finish, service }:
  & { jobs: Job[]; finish: (() => void)[] }
  & Pick<
    Awaited<ReturnType<typeof busy>>,
    "service"
  >) {
  for (const job of [...service.queue.waiting]) job.cancel();
  finish.forEach((end) => end());
  await Promise.all(jobs.map((job) => job.ended));
  await service.close();
}

test("a full queue is a 429 with Retry-After in every dialect; what is malformed is still told so", async () => {
  const server = await busy(3);
  const body = { prompt: "a red apple" };
  for (
    const [path, more] of [
      ["/generate", {}],
      ["/v1/images/generations", {}],
      ["/v1/images/generations", { stream: true }],
      ["/sdapi/v1/txt2img", {}],
    ] as const
  ) {
    const answer = await server.post(path, { ...body, ...more });
    assert.equal(answer.status, 429, path);
    assert.match(answer.headers.get("retry-after")!, /^[1-9]\d*$/);
    assert.match(await answer.text(), /The queue is full: 2 jobs wait already; try again in \d+ s/);
    assert.equal(
      (await server.post(path, { ...body, ...more, steps: -1 })).status,
      /sdapi/.test(path) ? 422 : 400,
    );
  }
  // Nothing else is held up.
  for (const path of ["/healthz", "/v1/models", "/jobs", "/sdapi/v1/progress", "/metrics"]) {
    assert.equal((await server.app.request(path)).status, 200, path);
  }
  await release(server);
});

test("a job that waits shows its place and, once a pace is known, the time left", async () => {
  const server = await busy(2);
  const { app, service, post } = server;
  const [first] = server.jobs;
  first.startedAt! -= 10_000;
  first.report({ index: 1, total: 4, timestep: 0, seconds: 1, preview: () => [] }, 0.25);
  const accepted = await post("/generate", { prompt: "a red apple" }, {
    headers: { prefer: "respond-async" },
  });
  assert.equal(accepted.status, 202);
  const place = accepted.headers.get("location")!;
  const { state, position, seconds_left } = await accepted.json();
  assert.deepEqual([state, position, seconds_left], ["queued", 2, null]);
  const listed = (await (await app.request("/jobs")).json()).jobs[0];
  assert.deepEqual([listed.state, listed.position, listed.progress], ["running", 0, 0.25]);
  assert(Math.abs(listed.seconds_left - 30) < 3, `${listed.seconds_left}`);
  const progress = await (await app.request("/sdapi/v1/progress")).json();
  assert.deepEqual([progress.progress, progress.state.job_count], [0.25, 3]);
  assert(Math.abs(progress.eta_relative - 30) < 3);

  const events = await app.request(place, { headers: { accept: "text/event-stream" } });
  const seen: unknown[] = [];
  for await (const { event, data } of sse(events)) {
    seen.push([event, event === "queued" ? data.position : data.title]);
    if (seen.length === 1) service.queue.waiting[0].cancel();
    if (seen.length === 2) service.queue.waiting[0].cancel();
  }
  assert.deepEqual(seen, [["queued", 2], ["queued", 1], ["error", "cancelled"]]);
  await release(server);
});

test("a server that is shutting down says 503 in every dialect", async () => {
  const { service, post } = await startApp();
  await service.close();
  for (const path of ["/generate", "/v1/images/generations", "/sdapi/v1/txt2img"]) {
    assert.equal((await post(path, { prompt: "a red apple" })).status, 503, path);
  }
});
