import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Job } from "../../src/server/queue.ts";
import { sse, startApp, type Started } from "./app.ts";

let server: Started;
before(async () => {
  server = await startApp();
});
after(() => server.service.close());

const BODY = { prompt: "a red apple", width: 32, height: 32, seed: 3 };
const LONG = { ...BODY, steps: 150 };
const OPENAI = { prompt: "a red apple", size: "32x32", steps: 150 };

async function picture(): Promise<Uint8Array> {
  const answer = await server.post("/generate", { ...BODY, steps: 2 });
  return new Uint8Array(await answer.arrayBuffer());
}

async function running(): Promise<Job> {
  for (;;) {
    const job = server.service.queue.running;
    if (job?.step) return job;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

interface Way {
  name: string;
  begin: (signal: AbortSignal) => Promise<Response>;
  /** Otherwise the client goes away. */
  stop?: (job: Job) => Promise<Response>;
  state: string;
  reason?: string;
}

const generate = (body: unknown, accept?: string) => (signal: AbortSignal) =>
  server.post("/generate", body, { accept, signal });
const remove = (job: Job) => Promise.resolve(server.app.request(`/jobs/${job.id}`, { method: "DELETE" }));
const interrupt = () => server.post("/sdapi/v1/interrupt", {});
const draw = (signal: AbortSignal) => server.post("/sdapi/v1/txt2img", LONG, { signal });
const gone = { state: "cancelled", reason: "disconnected" };

const WAYS: Way[] = [
  { name: "DELETE", begin: generate(LONG), stop: remove, state: "cancelled", reason: "cancelled" },
  {
    name: "DELETE of AUTOMATIC1111's",
    begin: draw,
    stop: remove,
    state: "cancelled",
    reason: "cancelled",
  },
  { name: "interrupt", begin: draw, stop: interrupt, state: "done" },
  { name: "skip", begin: draw, stop: () => server.post("/sdapi/v1/skip", {}), state: "done" },
  {
    name: "interrupt of another dialect's",
    begin: generate(LONG),
    stop: interrupt,
    state: "cancelled",
    reason: "interrupted",
  },
  { name: "a client that waits for a picture leaves", begin: generate(LONG), ...gone },
  { name: "a client that follows events leaves", begin: generate(LONG, "text/event-stream"), ...gone },
  { name: "a client of AUTOMATIC1111's API leaves", begin: draw, ...gone },
  {
    name: "a client of OpenAI's API leaves",
    begin: (signal) => server.post("/v1/images/generations", OPENAI, { signal }),
    ...gone,
  },
  {
    name: "a client of OpenAI's stream leaves",
    begin: (signal) => server.post("/v1/images/generations", { ...OPENAI, stream: true }, { signal }),
    ...gone,
  },
];

for (const { name, begin, stop, state, reason } of WAYS) {
  test(`${name}: the job stops within a step, and the next picture is as ever`, async () => {
    const before = await picture();
    const controller = new AbortController();
    const answer = begin(controller.signal).then((answer) => {
      if (!/event-stream/.test(answer.headers.get("content-type")!)) return;
      // What a server does when the connection is closed.
      const reader = answer.body!.getReader();
      controller.signal.addEventListener("abort", () => void reader.cancel());
    });
    const job = await running();
    await new Promise((resolve) => setTimeout(resolve, 1)); // streams are read by now
    let steps = 0;
    job.on((event) => void (steps += event === "step" ? 1 : 0));
    if (stop) assert.equal((await stop(job)).status, 200);
    else controller.abort();
    await job.ended;
    // The one that runs, and one that was done when its message was still on the way from the worker.
    assert(steps <= 2, `${steps} more steps`);
    assert.deepEqual([job.state, job.reason], [state, reason]);
    await answer;
    assert.deepEqual(await picture(), before);
  });
}

test("a job goes on when one of two leaves: the one that waits, or the one that follows its events", async () => {
  for (const leaves of ["waiting", "following"]) {
    const controller = new AbortController();
    const waiting = server.post("/generate", { ...BODY, steps: 20 }, { signal: controller.signal });
    const job = await running();
    const events = await server.app.request(`/jobs/${job.id}`, { headers: { accept: "text/event-stream" } });
    const types: string[] = [];
    for await (const { event } of sse(events)) {
      types.push(event);
      if (types.length > 1) continue;
      if (leaves === "following") break;
      controller.abort();
    }
    await job.ended;
    assert.equal(job.state, "done", leaves);
    if (leaves === "waiting") assert.equal(types.at(-1), "done");
    else assert.equal((await waiting).status, 200);
  }
});

test("a job that takes longer than the limit is stopped, and its client told", async () => {
  const { post, service } = await startApp({ maxSeconds: 0.3 });
  try {
    await service.load();
    const answer = await post("/generate", LONG);
    assert.deepEqual([answer.status, (await answer.json()).title], [504, "timeout"]);
    const drawn = await post("/sdapi/v1/txt2img", LONG);
    assert.deepEqual([drawn.status, (await drawn.json()).error], [504, "timeout"]);
  } finally {
    await service.close();
  }
});
