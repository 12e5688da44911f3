import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { decodePng } from "../../src/image/png.ts";
import { parseParameters } from "../../src/image/parameters.ts";
import { decodeImage } from "../../src/server/images/decode.ts";
import { bytesOf, sse, type SseEvent, startApp, type Started } from "./app.ts";

let server: Started;
before(async () => {
  server = await startApp();
});
after(() => server.service.close());

const BODY = { prompt: "a 3d icon of a red apple", seed: 3, width: 64, height: 64, steps: 2 };
const LIMITS = { maxPixels: 1 << 20 };

async function picture(body: Record<string, unknown> = {}) {
  const answer = await server.post("/generate", { ...BODY, ...body }, { accept: "image/*" });
  assert.equal(answer.status, 200, await (answer.ok ? "" : answer.text()));
  return { answer, bytes: new Uint8Array(await answer.arrayBuffer()) };
}

async function events(answer: Response): Promise<SseEvent[]> {
  const list = [];
  for await (const event of sse(answer)) list.push(event);
  return list;
}

test("a picture, its headers and its metadata", async () => {
  const { answer, bytes } = await picture();
  assert.equal(answer.headers.get("content-type"), "image/png");
  assert.equal(answer.headers.get("tome-edge-seed"), "3");
  assert.equal(answer.headers.get("tome-edge-drawn"), "64x64");
  assert.match(
    answer.headers.get("server-timing")!,
    /^text;dur=[\d.]+, denoise;dur=[\d.]+, decode;dur=[\d.]+$/,
  );
  const { width, height, text } = decodePng(bytes);
  assert.deepEqual([width, height], [64, 64]);
  const parameters = parseParameters(text.parameters);
  assert.deepEqual([parameters.prompt, parameters.seed, parameters.steps], [BODY.prompt, 3, 2]);
  assert.deepEqual((await picture()).bytes, bytes, "the same request, the same bytes");
});

test("every field changes the pixels or what is told", async () => {
  const image = btoa(String.fromCharCode(...(await picture()).bytes));
  const base = (await picture()).bytes;
  const changes: Record<string, unknown>[] = [
    { prompt: "a lemon" },
    { negative_prompt: "red" },
    { width: 96 },
    { height: 96 },
    { steps: 3 },
    { guidance_scale: 2 },
    { seed: 4 },
    { sampler: "euler" },
    { noise: "philox" },
    { image },
    { image, strength: 0.5 },
    { image, mask: image },
    { width: 512, height: 512, upscale: true },
    { format: "jpeg" },
    { format: "webp" },
    { token_merging: { ratio: 0.5 } },
    { token_merging: { ratio: 0.4 } },
    { token_merging: { ratio: 0.5, sx: 4 } },
    { token_merging: { ratio: 0.5, sy: 4 } },
    { token_merging: { ratio: 0.5, max_downsample: 2 } },
    { token_merging: { ratio: 0.5, use_rand: false } },
    { token_merging: { ratio: 0.5, merge_attn: false, merge_mlp: true } },
    { token_merging: { ratio: 0.5, merge_crossattn: true } },
    { token_merging: { ratio: 0.5, merge_mlp: true } },
  ];
  const seen = new Map([[String(base), "nothing"]]);
  for (const change of changes) {
    const key = String((await picture(change)).bytes);
    assert(!seen.has(key), `${JSON.stringify(change).slice(0, 80)} draws what ${seen.get(key)} draws`);
    seen.set(key, JSON.stringify(change).slice(0, 80));
  }
  assert.equal(String((await picture({ token_merging: { ratio: 0 } })).bytes), String(base));
  assert.equal(String((await picture({ token_merging: null, n: 1, model: "emoji" })).bytes), String(base));
});

test("JPEG and WebP with a quality; a size far beyond the model's is scaled up on demand", async () => {
  for (const format of ["jpeg", "webp"]) {
    const { answer, bytes } = await picture({ format, quality: 95 });
    assert.equal(answer.headers.get("content-type"), `image/${format}`);
    const { width, parameters } = await decodeImage(bytes, LIMITS);
    assert.equal(width, 64);
    assert.match(parameters!, /Seed: 3/);
    assert((await picture({ format, quality: 20 })).bytes.length < bytes.length);
  }
  const { answer, bytes } = await picture({ width: 500, height: 300, upscale: true, steps: 1 });
  assert.equal(answer.headers.get("tome-edge-drawn"), "124x76");
  const { width, height, text } = decodePng(bytes);
  assert.deepEqual([width, height], [500, 300]);
  assert.match(text.parameters, /Size: 124x76.*Scaled to: 500x300 \(Lanczos\)/);
});

test("JSON: several pictures, each hosted for a while, with the statistics", async () => {
  const answer = await server.post(
    "/generate",
    { ...BODY, n: 2, token_merging: { ratio: 0.5 } },
    { accept: "application/json" },
  );
  const { id, images, stats, warnings } = await answer.json();
  assert.equal(answer.headers.get("tome-edge-job"), id);
  assert.deepEqual(images.map((i: { seed: number }) => i.seed), [3, 4]);
  assert.deepEqual(warnings, []);
  assert.equal(stats.network_calls, 2);
  assert(stats.ceiling > 1 && stats.seconds.total > 0);
  assert.deepEqual([stats.tokens[0].before, stats.tokens[0].after], [256, 128]);
  const file = await server.app.request(images[1].url);
  assert.equal(file.headers.get("content-type"), "image/png");
  const alone = await picture({ seed: 4, token_merging: { ratio: 0.5 } });
  assert.deepEqual(new Uint8Array(await file.arrayBuffer()), alone.bytes);
  // By default several pictures come as JSON, too.
  assert.equal((await (await server.post("/generate", { ...BODY, n: 2 })).json()).images.length, 2);
  const refused = await server.post("/generate", { ...BODY, n: 2 }, { accept: "image/png" });
  assert.equal(refused.status, 406);
});

test("events: the place in the queue, every step with preview and merge maps, and the picture", async () => {
  const body = { ...BODY, previews: true, merge_maps: true, token_merging: { ratio: 0.5 } };
  const answer = await server.post("/generate", body, { accept: "text/event-stream" });
  assert.match(answer.headers.get("content-type")!, /^text\/event-stream/);
  const list = (await events(answer)).filter((e) => e.event !== "queued");
  assert.deepEqual(list.map((e) => e.event), ["step", "step", "done"]);
  for (const [i, { data }] of list.slice(0, 2).entries()) {
    assert.deepEqual([data.index, data.total, data.progress], [i + 1, 2, (i + 1) / 2]);
    const preview = decodePng(bytesOf(data.preview[0].replace("data:image/png;base64,", "")));
    assert.deepEqual([preview.width, preview.height], [64, 64]);
    const map = data.merge_maps[0];
    const into = new Int32Array(bytesOf(map.into).buffer);
    assert.deepEqual([into.length, map.width * map.height, map.r], [256, 256, 128]);
    assert.equal(into.filter((to, from) => to !== from).length, 128);
  }
  const { images, id } = list[2].data;
  assert.deepEqual(bytesOf(images[0].b64_json), (await picture({ token_merging: { ratio: 0.5 } })).bytes);
  assert.equal((await (await server.app.request(`/jobs/${id}`)).json()).state, "done");
});

test("a detached job: accepted, followed, listed, fetched", async () => {
  const answer = await server.post("/generate", BODY, { headers: { prefer: "respond-async" } });
  assert.equal(answer.status, 202);
  const place = answer.headers.get("location")!;
  const list = await events(await server.app.request(place, { headers: { accept: "text/event-stream" } }));
  assert.equal(list.at(-1)!.event, "done");
  const job = await (await server.app.request(place)).json();
  assert.deepEqual([job.state, job.progress, job.step, job.steps, job.error], ["done", 1, 2, 2, null]);
  assert.equal(job.result.images[0].seed, 3);
  assert.equal((await server.app.request(job.result.images[0].url)).status, 200);
  await picture(); // its file went with the answer, and the list writes none
  const { bytes } = server.service.files;
  const { jobs } = await (await server.app.request("/jobs")).json();
  assert.deepEqual([jobs.at(-2).id, jobs.at(-1).state, jobs.at(-1).result], [job.id, "done", null]);
  assert.equal(server.service.files.bytes, bytes);
});

test("DELETE stops a job within a step; whoever waits is told; the next draws as ever", async () => {
  const before = (await picture()).bytes;
  const waiting = server.post("/generate", { ...BODY, steps: 150 });
  const followed = await server.post("/generate", { ...BODY, steps: 150 }, { accept: "text/event-stream" });
  while (!server.service.queue.running?.step) await new Promise((resolve) => setTimeout(resolve, 5));
  const { id } = server.service.queue.running;
  const deleted = await server.app.request(`/jobs/${id}`, { method: "DELETE" });
  assert.equal((await deleted.json()).state, "cancelled");
  const answer = await waiting;
  assert.equal(answer.status, 409);
  assert.equal((await answer.json()).title, "cancelled");
  const second = followed.headers.get("tome-edge-job");
  await server.app.request(`/jobs/${second}`, { method: "DELETE" });
  const last = (await events(followed)).at(-1)!;
  assert.deepEqual([last.event, last.data.title], ["error", "cancelled"]);
  assert.deepEqual((await picture()).bytes, before);
  assert.equal((await server.app.request(`/jobs/${id}`, { method: "DELETE" })).status, 200);
  assert.equal((await server.app.request("/jobs/none", { method: "DELETE" })).status, 404);
});

test("a client that leaves its events cancels the job, but not one that others follow", async () => {
  for (const others of [false, true]) {
    const controller = new AbortController();
    const answer = await server.post("/generate", { ...BODY, steps: others ? 4 : 150 }, {
      accept: "text/event-stream",
      signal: controller.signal,
    });
    const job = server.service.queue.get(answer.headers.get("tome-edge-job")!)!;
    const other = others
      ? events(
        await server.app.request(`/jobs/${job.id}`, { headers: { accept: "text/event-stream" } }),
      )
      : undefined;
    for await (const event of sse(answer)) if (event.event === "step") break; // cancels the stream
    await job.ended;
    assert.equal(job.state, others ? "done" : "cancelled");
    assert.equal((await other)?.at(-1)?.event, others ? "done" : undefined);
  }
});

test("what the engine refuses comes back as a problem", async () => {
  const answer = await server.post("/generate", { ...BODY, width: 98 });
  assert.equal(answer.status, 400);
  assert.equal(answer.headers.get("content-type"), "application/problem+json");
  const { title, status, detail } = await answer.json();
  assert.deepEqual([title, status, detail], [
    "invalid_value",
    400,
    "Cannot use width 98: expected a multiple of 4",
  ]);
});

test("the OpenAPI document names every field, and the reference is there without any other site", async () => {
  const { openapi, paths, components } = await (await server.app.request("/openapi.json")).json();
  assert.equal(openapi, "3.1.0");
  for (const path of ["/generate", "/jobs", "/jobs/{id}", "/models"]) assert(paths[path], path);
  const { properties } = components.schemas.Generate;
  assert.equal(
    properties.token_merging.$ref ?? properties.token_merging.anyOf[0].$ref,
    "#/components/schemas/TokenMerging",
  );
  assert(Object.keys(properties).length >= 20);
  const page = await (await server.app.request("/docs")).text();
  assert.doesNotMatch(page, /https?:\/\//);
  for (const [, url] of page.matchAll(/(?:src|href)="(\/[^"]+)"/g)) {
    const file = await server.app.request(url);
    assert.equal(file.status, 200, url);
    assert((await file.text()).length > 50);
  }
  const { models } = await (await server.app.request("/models")).json();
  assert.deepEqual(models.map((m: { id: string }) => m.id), ["emoji"]);
});

test("the metrics tell the device, the pictures, the seconds of each phase and the tokens merged", async () => {
  const read = async () => {
    const text = await (await server.app.request("/metrics")).text();
    return (name: string) => {
      const line = text.split("\n").find((line) => line.startsWith(`${name} `));
      return line === undefined ? 0 : Number(line.split(" ")[1]);
    };
  };
  const before = await read();
  await picture({ token_merging: { ratio: 0.5 } });
  const after = await read();
  const grown = (name: string) => after(name) - before(name);
  assert.equal(grown("tome_pictures_total"), 1);
  assert.equal(grown('tome_jobs_total{dialect="plain",state="done"}'), 1);
  for (const phase of ["text", "encode", "denoise", "decode"]) {
    assert.equal(grown(`tome_phase_seconds_count{phase="${phase}"}`), 1, phase);
    assert((grown(`tome_phase_seconds_sum{phase="${phase}"}`) > 0) === (phase !== "encode"), phase);
  }
  const seen = grown('tome_tokens_total{kind="seen"}'), merged = grown('tome_tokens_total{kind="merged"}');
  assert(merged > 0 && merged < seen, `${merged} of ${seen}`);
  const { device } = server.service.models.info!;
  const text = await (await server.app.request("/metrics")).text();
  assert(text.includes(`tome_device_info{model="emoji",device="${device}"} 1`));
});
