import assert from "node:assert/strict";
import { test } from "node:test";
import process from "node:process";
import { call, start } from "../cli/cli.ts";

/** A server in a process of its own, once it says where it is. */
async function serve(...flags: string[]) {
  const { child, ended } = start(["serve", "--port", "0", "--device", "cpu", "--threads", "1", ...flags]);
  const url = await new Promise<string>((resolve, reject) => {
    let text = "";
    child.stderr.on("data", (data) => {
      const match = /^(http:\S+) {2}serves emoji on .+; Ctrl\+C stops it\n/.exec(text += data);
      if (match) resolve(match[1]);
    });
    ended.then(({ code, err }) => reject(new Error(`ended with ${code}: ${err}`)), reject);
  });
  return {
    url,
    ended,
    // Not child.kill(), after which Deno says that the signal ended the process, whatever did.
    kill: (signal: NodeJS.Signals) => process.kill(child.pid!, signal),
  };
}

const draw = (url: string, body: Record<string, unknown>, init: RequestInit = {}) =>
  fetch(`${url}/generate`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ prompt: "a red apple", seed: 1, width: 64, height: 64, ...body }),
    ...init,
  });

test("SIGTERM: what runs is finished, what waits is refused, the exit code is 0; the log tells of it", async () => {
  const { url, ended, kill } = await serve();
  assert.match(url, /^http:\/\/127\.0\.0\.1:[1-9]\d*$/);
  assert.deepEqual(
    await (await fetch(`${url}/readyz`)).json().then(({ ready, model }) => [ready, model]),
    [true, "emoji"],
  );
  const running = draw(url, { steps: 40 });
  const waiting = draw(url, { steps: 2 });
  while (!/waiting"} 1/.test(await (await fetch(`${url}/metrics`)).text()));
  kill("SIGTERM");
  const [first, second] = [await running, await waiting];
  assert.equal(first.status, 200);
  assert.equal(first.headers.get("content-type"), "image/png");
  assert((await first.arrayBuffer()).byteLength > 1000);
  assert.equal(second.status, 503);
  assert.equal((await second.json()).title, "shutdown");
  const { code, out } = await ended;
  assert.equal(code, 0);
  const lines = out.trim().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(lines.filter((l) => l.job).map((l) => l.state).sort(), ["cancelled", "done"]);
  assert(lines.some((l) => l.path === "/readyz" && l.status === 200));
});

test("a client that goes away cancels its job within a step, and the next one is served", async () => {
  const { url, ended, kill } = await serve("--grace", "0");
  const controller = new AbortController();
  const leaving = draw(url, { steps: 150 }, { signal: controller.signal });
  while (!/running"} 1/.test(await (await fetch(`${url}/metrics`)).text()));
  controller.abort();
  await assert.rejects(leaving);
  const next = await draw(url, { steps: 1 });
  assert.equal(next.status, 200);
  await next.arrayBuffer();
  // One that succeeded stays so, though Deno aborts its request's signal afterwards.
  kill("SIGINT");
  const { code, out } = await ended;
  assert.equal(code, 0);
  const jobs = out.trim().split("\n").map((line) => JSON.parse(line)).filter((l) => l.job);
  assert.deepEqual(jobs.map(({ state, reason }) => [state, reason]), [
    ["cancelled", "disconnected"],
    ["done", undefined],
  ]);
});

test("what cannot be served ends with one line and exit code 2", async () => {
  for (
    const [flags, line] of [
      [["--port", "99999"], /Expected 0 to 65535/],
      [["--max-steps", "-1"], /Expected a whole number/],
      [["--model", "no/such/folder"], /Cannot serve no\/such\/folder: expected a diffusers folder/],
      [["--models", "no/such/folder"], /Cannot read the models in no\/such\/folder: expected a folder/],
    ] as const
  ) {
    const { code, err } = await call("serve", "--quiet", "--port", "0", ...flags);
    assert.equal(code, 2, flags.join(" "));
    assert.match(err, line);
    assert.equal(err.trim().split("\n").length, 1);
  }
});

test("a port that is in use is told", async () => {
  const { url, ended, kill } = await serve();
  const { code, err } = await call("serve", "--quiet", "--port", new URL(url).port);
  assert.equal(code, 2);
  assert.match(err, /^tome-edge: Cannot listen on 127\.0\.0\.1:\d+: it is in use\n$/);
  kill("SIGTERM");
  assert.equal((await ended).code, 0);
});
