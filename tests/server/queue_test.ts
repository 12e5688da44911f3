import assert from "node:assert/strict";
import { test } from "node:test";
import type { Step } from "../../src/pipeline/options.ts";
import type { Drawing } from "../../src/server/drawing.ts";
import { HttpError } from "../../src/server/errors.ts";
import { news } from "../../src/server/follow.ts";
import { type Job, Queue } from "../../src/server/queue.ts";

const NOTHING: Drawing = { pictures: [], stats: [], warnings: [] };

/** Work that ends when it is told to, or with its job's reason when that is stopped. */
function worker() {
  const started: Job[] = [];
  const finish = new Map<Job, (error?: Error) => void>();
  const work = (job: Job) =>
    new Promise<Drawing>((resolve, reject) => {
      started.push(job);
      finish.set(job, (error) => error ? reject(error) : resolve(NOTHING));
      job.signal.addEventListener("abort", () => reject(job.signal.reason));
    });
  return { started, finish: (job: Job, error?: Error) => finish.get(job)!(error), work };
}

const step = (index: number): Step => ({ index, total: 4, timestep: 0, seconds: 1, preview: () => [] });

function setUp(options: Partial<ConstructorParameters<typeof Queue>[0]> = {}) {
  const queue = new Queue({ maxWaiting: 2, maxSeconds: 100, ...options });
  const w = worker();
  const submit = (extra = {}) => queue.submit({ dialect: "test", images: 1, work: w.work, ...extra });
  return { queue, ...w, submit };
}

test("jobs run one at a time, in order, and know their position", async () => {
  const { queue, started, finish, submit } = setUp();
  const [a, b, c] = [submit(), submit(), submit()];
  assert.deepEqual([a, b, c].map((j) => [j.state, j.position]), [["running", 0], ["queued", 1], [
    "queued",
    2,
  ]]);
  finish(a);
  assert.deepEqual(await a.finished(), NOTHING);
  await Promise.resolve();
  assert.deepEqual([a, b, c].map((j) => j.state), ["done", "running", "queued"]);
  assert.equal(c.position, 1);
  finish(b, new Error("no"));
  await assert.rejects(b.finished(), /^Error: no$/);
  await Promise.resolve();
  finish(c);
  await queue.idle();
  assert.deepEqual(started, [a, b, c]);
  assert.deepEqual([a, b, c].map((j) => j.state), ["done", "failed", "done"]);
});

test("a full queue refuses with 429 and says when to come again", () => {
  const { submit, queue } = setUp();
  for (let i = 0; i < 3; i++) submit();
  assert.throws(submit, (error) => {
    assert(error instanceof HttpError);
    assert.equal(error.status, 429);
    assert.match(error.headers["retry-after"], /^[1-9]\d*$/);
    return true;
  });
  const [first, second] = queue.waiting, events: string[] = [];
  second.on((event) => events.push(event));
  first.cancel();
  assert.deepEqual([queue.waiting.length, second.position, events], [1, 1, ["queued"]]);
  submit();
});

test("cancelling ends a waiting job at once and a running one through its signal", async () => {
  const { submit, started } = setUp();
  const [a, b] = [submit(), submit()];
  b.cancel();
  assert.equal(b.state, "cancelled");
  await assert.rejects(b.finished(), { status: 409, code: "cancelled" });
  a.cancel("interrupted");
  await assert.rejects(a.finished(), { status: 409, code: "interrupted" });
  assert.equal(a.state, "cancelled");
  a.cancel("timeout");
  assert.equal(a.reason, "interrupted");
  assert.deepEqual(started, [a]);
});

test("a job that ends before it notices that it was cancelled is done", async () => {
  const queue = new Queue({ maxWaiting: 1, maxSeconds: 100 });
  let finish!: () => void;
  const work = () => new Promise<Drawing>((resolve) => finish = () => resolve(NOTHING));
  const job = queue.submit({ dialect: "test", images: 1, work });
  job.cancel();
  finish();
  assert.equal(await job.finished(), NOTHING);
  assert.equal(job.state, "done");
});

test("a job is cancelled when its last follower leaves, unless it is detached", async () => {
  const { submit } = setUp();
  const a = submit(), b = submit({ detached: true });
  const [first, second] = [a.follow(), a.follow()];
  first();
  first();
  assert.equal(a.signal.aborted, false);
  second();
  assert.equal(a.reason, "disconnected");
  b.follow()();
  await assert.rejects(a.finished());
  assert.equal(b.signal.aborted, false);
});

test("a job may run no longer than the limit", async () => {
  const { submit } = setUp({ maxSeconds: 0.02 });
  const job = submit();
  await assert.rejects(job.finished(), { status: 504, code: "timeout" });
  assert.equal(job.state, "cancelled");
});

test("closing refuses new jobs, cancels those that wait, and what runs after the grace", async () => {
  const { queue, submit, finish } = setUp();
  const [a, b] = [submit(), submit()];
  const closed = queue.close(100);
  assert.equal(b.reason, "shutdown");
  assert.throws(submit, { status: 503 });
  finish(a);
  await closed;
  assert.equal(a.state, "done");

  const other = setUp();
  const c = other.submit();
  await other.queue.close(0.01);
  assert.equal(c.reason, "shutdown");
  assert.equal(c.state, "cancelled");
});

test("ended jobs are remembered, up to a number", async () => {
  const { queue, submit, finish } = setUp({ keepJobs: 2 });
  const jobs: Job[] = [];
  for (let i = 0; i < 4; i++) {
    const job = submit();
    jobs.push(job);
    finish(job);
    await queue.idle();
  }
  assert.deepEqual(jobs.map((j) => queue.get(j.id) === j), [false, false, true, true]);
});

test("ended jobs are forgotten when their pictures are too many bytes, but for the last", async () => {
  const { queue, submit } = setUp({ keepBytes: 100 });
  const picture = { width: 4, height: 3, data: new Uint8ClampedArray(48), seed: 1, text: {} };
  const drawing = (n: number): Drawing => ({
    ...NOTHING,
    pictures: Array(n).fill({ ...picture, drawn: { width: 4, height: 3 } }),
  });
  const jobs: Job[] = [];
  for (const n of [1, 1, 1, 3]) {
    jobs.push(submit({ work: () => Promise.resolve(drawing(n)) }));
    await queue.idle();
    const known = jobs.map((job) => queue.get(job.id) === job);
    assert.deepEqual(known, jobs.map((_, i) => n === 3 ? i === 3 : i >= jobs.length - 2));
  }
});

test("a job that ended holds nothing of its work but the result", async () => {
  const { queue, submit, finish } = setUp();
  const job = submit();
  job.report({ ...step(2), preview: () => [{} as never], result: {} as never, mergeMaps: [] }, 0.5);
  finish(job);
  await queue.idle();
  const { index, total, preview, result, mergeMaps } = job.step!;
  assert.deepEqual([index, total, preview(), result, mergeMaps], [2, 4, [], undefined, undefined]);
  assert(!("work" in job.options));
});

test("the time left follows the pace of the steps and of earlier jobs", async () => {
  const { queue, submit, finish } = setUp();
  const a = submit();
  assert.equal(a.secondsLeft, undefined);
  a.startedAt! -= 3000;
  a.report(step(1), 0.25);
  assert(Math.abs(a.secondsLeft! - 9) < 1, `${a.secondsLeft}`);
  finish(a);
  await queue.idle();
  assert.equal(a.secondsLeft, 0);
  const b = submit(), c = submit({ images: 2 });
  assert(Math.abs(b.secondsLeft! - 3) < 1, `${b.secondsLeft}`);
  assert(Math.abs(c.secondsLeft! - 9) < 1, `${c.secondsLeft}`);
});

test("the news of a job: its place, every step, signs of life, and its end", async () => {
  const { submit, finish } = setUp();
  const a = submit(), b = submit();
  const heard: unknown[] = [];
  const listening = (async () => {
    for await (const item of news(b, 0.01)) {
      if (item.type === "alive") {
        if (heard.at(-1) !== "alive") heard.push("alive");
      } else heard.push(item.type === "step" ? item.step.index : `position ${item.position}`);
    }
  })();
  await new Promise((resolve) => setTimeout(resolve, 60));
  finish(a);
  await a.finished();
  await new Promise((resolve) => setTimeout(resolve));
  b.report(step(1), 0.25);
  b.report(step(2), 0.5);
  finish(b);
  await listening;
  assert.deepEqual(heard.filter((h) => h !== "alive"), ["position 1", 1, 2]);
  assert.equal(heard[1], "alive");
});

test("leaving the news of a job early stops following it", async () => {
  const { submit } = setUp();
  const job = submit();
  for await (const item of news(job, 0.01)) {
    assert.equal(item.type, "alive");
    break;
  }
  await assert.rejects(job.finished(), { status: 499 });
});
