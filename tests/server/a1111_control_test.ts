import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { decodePng } from "../../src/image/png.ts";
import { draw, type Json } from "./a1111.ts";
import { bytesOf, startApp, type Started } from "./app.ts";

let server: Started;
before(async () => {
  server = await startApp();
});
after(() => server.service.close());

const BODY = { prompt: "a red apple", seed: 3, steps: 2, width: 32, height: 32 };
const get = async (path: string): Promise<Json> =>
  await (await server.app.request(`/sdapi/v1/${path}`)).json();
const post = async (path: string, body: Json = {}): Promise<Json> =>
  await (await server.post(`/sdapi/v1/${path}`, body)).json();

async function until(condition: () => unknown): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

test("progress: nothing while idle, then steps, time left and a preview, unless that is left out", async () => {
  const idle = await get("progress");
  assert.deepEqual([idle.progress, idle.eta_relative, idle.current_image, idle.textinfo], [0, 0, null, null]);
  assert.deepEqual(Object.keys(idle.state), [
    "skipped",
    "interrupted",
    "stopping_generation",
    "job",
    "job_count",
    "job_timestamp",
    "job_no",
    "sampling_step",
    "sampling_steps",
  ]);
  const drawing = draw(server, "txt2img", { ...BODY, steps: 60, width: 48 });
  await until(() => (server.service.queue.running?.step?.index ?? 0) >= 2);
  const { progress, eta_relative, state, current_image } = await get("progress");
  assert(progress > 0 && progress < 1 && eta_relative > 0, `${progress} ${eta_relative}`);
  assert(state.sampling_step >= 2 && state.sampling_steps === 60);
  assert.match(state.job, /^task\([\w-]+\)$/);
  const preview = decodePng(bytesOf(current_image));
  assert.deepEqual([preview.width, preview.height], [48, 32]);
  assert.equal((await get("progress?skip_current_image=true")).current_image, null);
  assert.notEqual((await get("progress?skip_current_image=false")).current_image, null);
  await post("interrupt");
  await drawing;
});

test("interrupt: what there is comes back, the rounds that follow are not drawn", async () => {
  const drawing = draw(server, "txt2img", { ...BODY, steps: 150, n_iter: 3 });
  await until(() => server.service.queue.running?.step);
  assert.deepEqual(await post("interrupt"), {});
  const { images, info } = await drawing;
  assert.equal(images.length, 1);
  assert.equal(decodePng(bytesOf(images[0])).width, 32);
  assert.deepEqual(info.warnings, ["interrupted: the picture is what there was of it"]);
  assert.match(info.infotexts[0], /^a red apple\nSteps: 150, .*Seed: 3/);
  assert.equal(server.service.queue.jobs.at(-1)!.state, "done");
});

test("skip: the round that runs ends early, the next is drawn", async () => {
  const drawing = draw(server, "txt2img", { ...BODY, steps: 20, n_iter: 2 });
  await until(() => server.service.queue.running?.step);
  assert.deepEqual(await post("skip"), {});
  const { images, info } = await drawing;
  assert.deepEqual([images.length, info.all_seeds], [2, [3, 4]]);
  assert.deepEqual(info.warnings, ["skipped: the picture is what there was of it"]);
  const alone = await draw(server, "txt2img", { ...BODY, steps: 20, seed: 4 });
  assert.equal(images[1], alone.images[0]);
});

test("interrupting the second pass of hires leaves the first, larger", async () => {
  const drawing = draw(server, "txt2img", {
    ...BODY,
    enable_hr: true,
    hr_scale: 1.5,
    hr_second_pass_steps: 100,
  });
  await until(() => (server.service.queue.running?.step?.total ?? 0) === 100);
  await post("interrupt");
  const { images, info } = await drawing;
  assert.deepEqual([images.length, decodePng(bytesOf(images[0])).width], [1, 48]);
  assert.deepEqual(info.warnings, ["interrupted: the picture is what there was of it"]);
});

test("interrupt stops what another dialect draws; with nothing to stop it is harmless", async () => {
  const other = server.post("/generate", { ...BODY, steps: 150 });
  await until(() => server.service.queue.running?.step);
  assert.deepEqual(await post("skip"), {});
  assert.deepEqual(await post("interrupt"), {});
  const answer = await other;
  assert.deepEqual([answer.status, (await answer.json()).title], [409, "interrupted"]);
  assert.deepEqual(await post("interrupt"), {});
  assert.deepEqual(await post("skip"), {});
});

test("options: read, changed, written back whole; what means nothing is told", async () => {
  const options = await get("options");
  assert.deepEqual([options.sd_model_checkpoint, options.token_merging_ratio], ["emoji", 0]);
  const answer = await server.post("/sdapi/v1/options", {
    ...options,
    token_merging_ratio_hr: 0.25,
    sd_unet: "x",
  });
  assert.equal(await answer.json(), null);
  assert.equal(answer.headers.get("tome-edge-ignored"), "sd_unet");
  assert.deepEqual(await get("options"), { ...options, token_merging_ratio_hr: 0.25 });
  // All or nothing.
  const refused = await server.post("/sdapi/v1/options", { token_merging_ratio: 0.5, randn_source: "TPU" });
  assert.equal(refused.status, 422);
  assert.equal((await get("options")).token_merging_ratio, 0);
  await post("options", options);
});

test("the lists that clients fill their menus from", async () => {
  assert.deepEqual(await get("sd-models"), [{
    title: "emoji",
    model_name: "emoji",
    hash: null,
    sha256: null,
    filename: "emoji",
    config: null,
  }]);
  const samplers = await get("samplers");
  assert.deepEqual(Object.keys(samplers[0]), ["name", "aliases", "options"]);
  for (const { name, aliases } of samplers) {
    for (const called of [name, ...aliases]) {
      const { info } = await draw(server, "txt2img", {
        ...BODY,
        steps: 1,
        sampler_name: called,
        send_images: false,
      });
      // Its automatic scheduler is Karras'.
      assert.equal(info.sampler_name, name === "DPM++ 2M" ? "DPM++ 2M Karras" : name, called);
    }
  }
  for (const { name, label } of await get("schedulers")) {
    const body = { ...BODY, sampler_name: "DPM++ 2M", send_images: false, steps: 1 };
    for (const scheduler of [name, label]) {
      assert.deepEqual((await draw(server, "txt2img", { ...body, scheduler })).info.ignored, [], scheduler);
    }
  }
  const [{ name }] = await get("upscalers");
  assert.equal(name, "Lanczos");
  const none = [
    "prompt-styles",
    "loras",
    "hypernetworks",
    "face-restorers",
    "latent-upscale-modes",
    "extensions",
  ];
  for (const list of none) assert.deepEqual(await get(list), []);
  assert.deepEqual(await get("embeddings"), { loaded: {}, skipped: {} });
  assert.deepEqual(await get("scripts"), { txt2img: [], img2img: [] });
  assert.equal((await get("cmd-flags")).api, true);
  const { ram: { free, used, total } } = await get("memory");
  assert(used > 0 && free > 0 && free + used === total);
  assert.equal(await post("refresh-checkpoints"), null);
});

test("png-info reads the parameters of a picture", async () => {
  const { images, info } = await draw(server, "txt2img", BODY);
  const read = await post("png-info", { image: `data:image/png;base64,${images[0]}` });
  assert.equal(read.info, info.infotexts[0]);
  assert.deepEqual([read.parameters.seed, read.parameters.prompt], [3, "a red apple"]);
});

test("errors have AUTOMATIC1111's shape; the key is asked for as Basic", async () => {
  const refused = await server.post("/sdapi/v1/txt2img", { ...BODY, sampler_name: "UniPC" });
  assert.equal(refused.status, 400);
  const { error, detail, body, errors } = await refused.json();
  assert.deepEqual([error, body], ["Sampler not found", "sampler_name"]);
  assert.match(detail, /expected one of ddim, .*found "UniPC"/);
  assert.equal(errors, detail);
  const { app } = await startApp({ apiKey: "secret" });
  const status = async (authorization?: string) =>
    (await app.request("/sdapi/v1/options", { headers: authorization ? { authorization } : {} })).status;
  assert.deepEqual([await status(), await status(`Basic ${btoa("user:wrong")}`)], [401, 401]);
  assert.deepEqual([await status(`Basic ${btoa("user:secret")}`)], [200]);
});
