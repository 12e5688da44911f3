/**
 * Many clients that behave badly, against a server in a process of its own: malformed bodies, disconnects at random
 * times, cancels, interrupts. `deno task test:soak [requests] [silent seconds]` runs the long form; a short one is in the tests.
 */
import assert from "node:assert/strict";
import process from "node:process";
import { encodePng } from "../../src/image/png.ts";
import { base64 } from "../../src/server/images/base64.ts";
import { start } from "../cli/cli.ts";
import { bytesOf } from "./app.ts";
import { hugePng } from "./pictures.ts";

export interface SoakOptions {
  requests: number;
  clients: number;
  /** Jobs that may wait: with far fewer than clients, most are refused. */
  maxWaiting?: number;
  /**
   * Whether to warm up before memory is watched: every client with the largest that it will ask for, then `WARM_UP`
   * requests of the mixture that follows.
   */
  warmUp?: boolean;
  /** At the end, a request that is answered only after more than so many seconds, in which nothing is sent. */
  silentSeconds?: number;
  /** Of the random numbers. */
  seed?: number;
  log?: (line: string) => void;
}

const PICTURE = { prompt: "a red apple", seed: 5, width: 64, height: 64, steps: 4 };
/** The largest picture that the clients ask for. */
const LARGEST = 96;

/** On Deno the heaps of three threads grow by a quarter over the first thousand requests, and then stay. */
const WARM_UP = 1500;

const SQUARE = base64(
  encodePng({ width: 64, height: 64, data: new Uint8ClampedArray(64 * 64 * 4).fill(255) }),
);
/** Says of itself that it is 60 000 pixels square. */
const HUGE = base64(hugePng());

/** Throws where the server breaks a promise; gives how many requests ended how. */
export async function soak(
  { requests, clients, maxWaiting = 8, warmUp = false, silentSeconds = 0, seed = 1, log = () => {} }:
    SoakOptions,
) {
  const server = await startServer(maxWaiting);
  const { url } = server;
  try {
    const before = await picture(url);
    const outcomes = new Map<string, number>();
    const memory: number[] = [];
    const random = generator(seed);
    const storm = async (requests: number) => {
      memory.length = 0;
      outcomes.clear();
      let next = 0;
      await Promise.all(Array.from({ length: clients }, async () => {
        while (next < requests) {
          const i = next++;
          const { name, outcome } = await misbehave(url, random);
          const key = `${name}: ${outcome}`;
          outcomes.set(key, (outcomes.get(key) ?? 0) + 1);
          memory[i] = (await metrics(url)).get("process_resident_memory_bytes")!;
          if (i % 50 === 49) log(`${i + 1} requests, ${(memory[i] / 2 ** 20).toFixed(0)} MB`);
        }
      }));
    };
    if (warmUp) {
      await Promise.all(Array.from({ length: maxWaiting }, () => warm(url)));
      await storm(WARM_UP);
      log("warm");
    }
    await storm(requests);
    const ended = await untilIdle(url);
    const asked = requests + 1 + (warmUp ? WARM_UP + 3 * maxWaiting : 0);
    assert(ended > 0 && ended <= asked, `${ended} jobs ended`);
    const { jobs } = await (await fetch(`${url}/jobs`)).json();
    assert(jobs.length > 0);
    for (const { id, state } of jobs) assert.match(state, /^(done|failed|cancelled)$/, `job ${id}`);
    assert.deepEqual(await picture(url), before, "the same seed draws another picture after the storm");
    if (silentSeconds) log(`a silent request was answered after ${await silence(url, silentSeconds)} s`);
    server.kill("SIGTERM");
    const { code, err } = await server.ended;
    assert.equal(code, 0, err);
    return { outcomes, memory };
  } catch (error) {
    server.kill("SIGKILL");
    throw error;
  }
}

/** The most that one client asks of the server at once, so that both of its heaps have the size that they will have. */
async function warm(url: string): Promise<void> {
  const size = { width: LARGEST, height: LARGEST, steps: 1 };
  for (
    const [path, body, accept] of [
      ["/generate", { ...PICTURE, ...size, n: 2 }, "application/json"],
      ["/generate", { ...PICTURE, ...size, previews: true }, "text/event-stream"],
      ["/sdapi/v1/img2img", { ...PICTURE, ...size, init_images: [SQUARE], mask: SQUARE }, "*/*"],
    ] as const
  ) {
    await (await post(url, path, body, { accept })).arrayBuffer();
  }
}

/** Waits until the queue is empty; gives how many jobs ended, of which none may have been lost. */
async function untilIdle(url: string): Promise<number> {
  const end = performance.now() + 60_000;
  for (;;) {
    const all = await metrics(url);
    const left = ["running", "waiting"].map((state) => all.get(`tome_queue_jobs{state="${state}"}`));
    if (left.every((n) => n === 0)) {
      const states = [...all].filter(([name]) => name.startsWith("tome_jobs_total"));
      for (const [name] of states) assert.match(name, /state="(done|failed|cancelled)"/);
      return states.reduce((sum, [, n]) => sum + n, 0);
    }
    assert(performance.now() < end, `a job hangs: a minute after the last request there are ${left}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** A request that is not streamed and takes longer than that; as many steps as this machine needs for it. */
async function silence(url: string, seconds: number): Promise<number> {
  const timed = async (body: Record<string, unknown>) => {
    const start = performance.now();
    const answer = await post(url, "/v1/images/generations", { prompt: "a star", size: "96x96", ...body });
    assert.equal(answer.status, 200, await answer.clone().text());
    assert.equal((await fetch((await answer.json()).data[0].url)).status, 200);
    return (performance.now() - start) / 1000;
  };
  await timed({ steps: 10 });
  const pace = await timed({ steps: 50 }) / 50;
  const steps = Math.ceil(2 * seconds / pace), n = Math.ceil(steps / 900);
  const took = await timed({ steps: Math.ceil(steps / n), n });
  assert(
    took > seconds,
    `expected more than ${seconds} s of silence, found ${took}: the machine's pace changed`,
  );
  return Math.round(took);
}

async function startServer(maxWaiting: number) {
  const { child, ended } = start([
    "serve",
    "--port",
    "0",
    "--device",
    "cpu",
    "--quiet",
    "--max-waiting",
    `${maxWaiting}`,
    "--max-steps",
    "1000",
  ]);
  const url = await new Promise<string>((resolve, reject) => {
    let text = "";
    child.stderr.on("data", (data) => {
      const match = /http:\/\/\S+/.exec(text += data);
      if (match) resolve(match[0]);
    });
    ended.then(({ code, err }) => reject(new Error(`The server ended with ${code}: ${err}`)), reject);
  });
  return { url, ended, kill: (signal: NodeJS.Signals) => process.kill(child.pid!, signal) };
}

function post(
  url: string,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
  signal?: AbortSignal,
): Promise<Response> {
  return fetch(url + path, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
    signal,
  });
}

function form(fields: Record<string, string | Blob>): FormData {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) data.append(name, value);
  return data;
}

async function picture(url: string): Promise<Uint8Array> {
  const answer = await post(url, "/generate", PICTURE, { accept: "image/png" });
  assert.equal(answer.status, 200);
  return new Uint8Array(await answer.arrayBuffer());
}

/** The samples without labels, and those with them by their whole name. */
async function metrics(url: string): Promise<Map<string, number>> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return new Map(
    text.split("\n").filter((line) => line && !line.startsWith("#")).map((line) => {
      const at = line.lastIndexOf(" ");
      return [line.slice(0, at), Number(line.slice(at + 1))];
    }),
  );
}

/** Statuses that are an answer to a request that was well formed. */
const FINE = [200, 202, 409, 429];

/** One request of a random kind; throws where the answer is not one that the kind allows. */
async function misbehave(url: string, random: () => number): Promise<{ name: string; outcome: string }> {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)];
  const size = pick([32, 64, LARGEST]);
  const body = {
    prompt: "a red apple",
    width: size,
    height: size,
    steps: pick([1, 2, 3]),
    n: pick([1, 1, 2]),
  };
  const openai = { prompt: "a lemon", size: `${size}x${size}`, steps: 2 };
  const a1111 = { prompt: "a star", width: size, height: size, steps: 2 };
  const kinds: [name: string, allowed: number[], send: (signal: AbortSignal) => Promise<Response>][] = [
    ["picture", FINE, (s) => post(url, "/generate", { ...body, n: 1 }, { accept: "image/png" }, s)],
    ["json", FINE, (s) => post(url, "/generate", body, { accept: "application/json" }, s)],
    [
      "events",
      FINE,
      (s) => post(url, "/generate", { ...body, previews: true }, { accept: "text/event-stream" }, s),
    ],
    ["detached", FINE, (s) => post(url, "/generate", body, { prefer: "respond-async" }, s)],
    ["openai url", FINE, (s) => post(url, "/v1/images/generations", openai, {}, s)],
    [
      "openai stream",
      FINE,
      (s) => post(url, "/v1/images/generations", { ...openai, stream: true, partial_images: 2 }, {}, s),
    ],
    ["a1111", FINE, (s) => post(url, "/sdapi/v1/txt2img", a1111, {}, s)],
    [
      "a1111 hires",
      FINE,
      (s) => post(url, "/sdapi/v1/txt2img", { ...a1111, enable_hr: true, hr_scale: 1.5 }, {}, s),
    ],
    [
      "a1111 img2img",
      FINE,
      (s) => post(url, "/sdapi/v1/img2img", { ...a1111, init_images: [SQUARE], mask: SQUARE }, {}, s),
    ],
    [
      "openai edit",
      FINE,
      (s) => {
        const image = new Blob([bytesOf(SQUARE)], { type: "image/png" });
        const body = form({ prompt: "a lemon", image, steps: "2", size: openai.size });
        return fetch(`${url}/v1/images/edits`, { method: "POST", body, signal: s });
      },
    ],
    ["skip", [200], (s) => post(url, "/sdapi/v1/skip", {}, {}, s)],
    ["bad picture", [422], (s) => post(url, "/sdapi/v1/img2img", { ...a1111, init_images: ["%%%"] }, {}, s)],
    [
      "huge picture",
      [400],
      (s) => post(url, "/generate", { prompt: "x", image: HUGE }, {}, s),
    ],
    ["interrupt", [200], (s) => post(url, "/sdapi/v1/interrupt", {}, {}, s)],
    ["progress", [200], (s) => fetch(`${url}/sdapi/v1/progress`, { signal: s })],
    [
      "delete",
      [200, 404],
      async (s) => {
        const { jobs } = await (await fetch(`${url}/jobs`, { signal: s })).json();
        const id = jobs.length ? pick(jobs as { id: string }[]).id : crypto.randomUUID();
        return await fetch(`${url}/jobs/${id}`, { method: "DELETE", signal: s });
      },
    ],
    ["not json", [400], (s) => post(url, pick(["/generate", "/v1/images/generations"]), "{oops", {}, s)],
    ["wrong type", [400, 422], (s) => post(url, "/generate", { prompt: 5 }, {}, s)],
    ["too large", [400, 422], (s) => post(url, "/generate", { ...body, width: 8192, height: 8192 }, {}, s)],
    ["odd size", [400], (s) => post(url, "/generate", { ...body, width: 99 }, {}, s)],
  ];
  const [name, allowed, send] = pick(kinds);
  const controller = new AbortController();
  // A third of the clients goes away at some time or other.
  const timer = random() < 1 / 3 ? setTimeout(() => controller.abort(), random() * 600) : undefined;
  try {
    const answer = await send(controller.signal);
    assert(allowed.includes(answer.status), `${name}: ${answer.status} ${await answer.clone().text()}`);
    await answer.arrayBuffer();
    return { name, outcome: `${answer.status}` };
  } catch (error) {
    if (!controller.signal.aborted || error instanceof assert.AssertionError) throw error;
    return { name, outcome: "left" };
  } finally {
    clearTimeout(timer);
  }
}

/** Numbers in 0..1 (mulberry32). */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Resident memory over the last four fifths: its last quarter against its first. */
export function growth(memory: readonly number[]): number {
  const flat = memory.slice(Math.floor(memory.length / 5));
  const quarter = Math.floor(flat.length / 4);
  const median = (list: number[]) => list.toSorted((a, b) => a - b)[list.length >> 1];
  return median(flat.slice(-quarter)) / median(flat.slice(0, quarter));
}

if (import.meta.main) {
  const requests = Number(process.argv[2] ?? 500);
  const { outcomes, memory } = await soak({
    requests,
    clients: 20,
    maxWaiting: 24, // else the clients that find it full use up the requests
    warmUp: true,
    silentSeconds: Number(process.argv[3] ?? 60),
    log: console.log,
  });
  for (const [key, count] of [...outcomes].sort()) console.log(`${`${count}`.padStart(5)}  ${key}`);
  const grown = growth(memory);
  console.log(`resident memory, last quarter over first: ${grown.toFixed(3)}`);
  assert(grown < 1.1, "the server's memory grows");
}
