import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Hono } from "hono";
import { start } from "../cli/cli.ts";
import { startApp } from "./app.ts";

const EMOJI = fileURLToPath(new URL("../../models/emoji", import.meta.url));
const MAIN = fileURLToPath(new URL("../../src/server/main.ts", import.meta.url));

/** A folder of models, one of them hidden by a folder in between, and one that is none. */
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "tome-edge-models-"));
  await symlink(EMOJI, join(folder, "second"));
  await mkdir(join(folder, "none", "deep"), { recursive: true });
  await symlink(EMOJI, join(folder, "none", "deep", "third"));
});
after(() => rm(folder, { recursive: true }));

test("the models of a folder are asked for by name, in every dialect, and by nothing that is a path", async () => {
  const { app, post, service } = await startApp({ folder });
  try {
    await service.load();
    assert.deepEqual(service.models.entries.map(({ id }) => id), ["emoji", "second"]);
    const body = { prompt: "a red apple", width: 32, height: 32, steps: 1 };
    const openai = { prompt: "a red apple", size: "32x32", steps: 1 };
    const loaded = () => service.models.loaded!.id;
    const draws = async (path: string, body: unknown, id: string) => {
      assert.equal((await post(path, body)).status, 200);
      assert.equal(loaded(), id);
    };
    await draws("/generate", { ...body, model: "second" }, "second");
    await draws("/v1/images/generations", { ...openai, model: "emoji" }, "emoji");
    await draws("/v1/images/generations", { ...openai, model: "second" }, "second");
    const other = { ...body, override_settings: { sd_model_checkpoint: "emoji [0123abcd]" } };
    await draws("/sdapi/v1/txt2img", other, "emoji");
    // For good: what names no model draws with it, in any dialect.
    assert.equal(
      (await post("/sdapi/v1/options", { sd_model_checkpoint: "second.safetensors" })).status,
      200,
    );
    await draws("/sdapi/v1/txt2img", body, "second");
    await draws("/v1/images/generations", openai, "second");
    assert.equal((await (await app.request("/sdapi/v1/options")).json()).sd_model_checkpoint, "second");
    const back = { ...other, override_settings_restore_afterwards: false };
    await draws("/sdapi/v1/txt2img", back, "emoji");
    await draws("/generate", body, "emoji");

    const { models } = await (await app.request("/models")).json();
    assert.deepEqual(models.map((m: { id: string; loaded: boolean }) => [m.id, m.loaded]), [
      ["emoji", true],
      ["second", false],
    ]);
    const names = ["none", "third", "none/deep/third", "../emoji", "./second", "second/", folder, EMOJI, ""];
    names.push("second\0", "..\\emoji", "%2e%2e/emoji", "constructor", "a".repeat(5000));
    for (const model of names) {
      assert.equal((await post("/generate", { ...body, model })).status, 404, model);
      assert.equal((await post("/v1/images/generations", { ...openai, model })).status, 404, model);
      const settings = { sd_model_checkpoint: model };
      const refused = await post("/sdapi/v1/txt2img", { ...body, override_settings: settings });
      assert.equal(refused.status, 404, model);
      const text = await refused.text();
      assert(text.length < 600 && (model === folder || model === EMOJI || !text.includes(folder)), text);
    }
    assert.equal(loaded(), "emoji");
    // What a model said about itself is known while another is loaded.
    assert.equal((await post("/generate", { ...body, width: 33, model: "second" })).status, 400);
  } finally {
    await service.close();
  }
});

test("the app can be mounted elsewhere, with its errors in each dialect's shape", async () => {
  const { app } = await startApp();
  const outer = new Hono().mount("/pictures", app.fetch);
  assert.equal(await (await outer.request("/pictures/healthz")).text(), "ok");
  assert.equal((await outer.request("/healthz")).status, 404);
  const answer = await outer.request("/pictures/v1/nothing");
  assert.deepEqual([answer.status, (await answer.json()).error.code], [404, "not_found"]);
});

/** A child's URL, once it prints one, and what ends it. */
async function address(child: ReturnType<typeof spawn>): Promise<string> {
  return await new Promise<string>((resolve, reject) => {
    let text = "";
    const read = (data: unknown) => {
      const match = /http:\/\/[\w.]+:[1-9]\d*/.exec(text += data);
      if (match) resolve(match[0]);
    };
    child.stdout!.on("data", read);
    child.stderr!.on("data", read);
    child.on("close", () => reject(new Error(`ended: ${text}`)));
  });
}

test("the default export is served by the runtime itself, with the models, key and port of the environment", async () => {
  const flags = "Deno" in globalThis
    ? ["serve", "-A", "--no-check", "--host", "127.0.0.1", "--port", "0", MAIN]
    : ["run", MAIN];
  const env = { ...process.env, TOME_MODELS: folder, TOME_API_KEY: "key", PORT: "0" };
  const child = spawn(process.execPath, flags, { env, stdio: ["ignore", "pipe", "pipe"] });
  try {
    const url = await address(child);
    assert.equal((await fetch(`${url}/v1/models`)).status, 401);
    const { data } = await (await fetch(`${url}/v1/models`, { headers: { authorization: "Bearer key" } }))
      .json();
    assert.deepEqual(data.map(({ id }: { id: string }) => id), ["emoji", "second"]);
    assert.equal((await (await fetch(`${url}/readyz`)).json()).ready, true);
  } finally {
    child.kill("SIGKILL");
  }
});

test("serve takes TOME_MODELS and TOME_API_KEY from the environment, too", async () => {
  const env = { TOME_MODELS: folder, TOME_API_KEY: "key" };
  const { child, ended } = start(["serve", "--port", "0", "--device", "cpu", "--threads", "1"], env);
  const url = await address(child);
  assert.equal((await fetch(`${url}/metrics`)).status, 401);
  const { models } = await (await fetch(`${url}/models`, { headers: { authorization: "Bearer key" } }))
    .json();
  assert.deepEqual(models.map(({ id }: { id: string }) => id), ["emoji", "second"]);
  process.kill(child.pid!, "SIGTERM");
  assert.equal((await ended).code, 0);
});
