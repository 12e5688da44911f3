/** The calls that Open WebUI makes, for both of its engines, in the order in which it makes them. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { decodeImage } from "../../src/server/images/decode.ts";
import { encodePng } from "../../src/image/png.ts";
import { bytesOf, startApp, type Started } from "./app.ts";

let server: Started;
before(async () => {
  server = await startApp({ apiKey: "key" });
});
after(() => server.service.close());

const LIMITS = { maxPixels: 1 << 20 };
const sizeOf = async (b64: string) => {
  const { width, height } = await decodeImage(bytesOf(b64), LIMITS);
  return `${width}x${height}`;
};

test("engine openai: the key as Bearer; pictures and edits as base64, whatever model it names", async () => {
  // It forwards who asked, too.
  const headers = {
    authorization: "Bearer key",
    "x-openwebui-user-name": "Ann",
    "x-openwebui-user-role": "user",
  };
  const models = await server.app.request("/v1/models", { headers });
  assert.deepEqual((await models.json()).data.map(({ id }: { id: string }) => id), ["emoji"]);
  for (const [model, size] of [["emoji", "512x512"], ["dall-e-2", "32x32"], ["gpt-image-1", "32x32"]]) {
    const answer = await server.post("/v1/images/generations", {
      model,
      prompt: "a red apple",
      n: 1,
      size, // its setting
      ...model !== "gpt-image-1" && { response_format: "b64_json" },
    }, { headers });
    assert.equal(answer.status, 200);
    const [image] = (await answer.json()).data;
    if (model !== "gpt-image-1") assert.equal(await sizeOf(image.b64_json), size);
    else assert.equal((await server.app.request(image.url)).status, 200); // it fetches that itself
    assert.equal(answer.headers.get("tome-edge-drawn"), size === "512x512" ? "96x96" : size);
  }
  for (const name of ["image", "image[]"]) {
    const form = new FormData();
    for (
      const [key, value] of [["model", "gpt-image-1"], ["prompt", "a lemon"], ["n", "1"], ["size", "32x32"]]
    ) {
      form.append(key, value);
    }
    const data = new Uint8ClampedArray(32 * 32 * 4).fill(255);
    form.append(name, new Blob([encodePng({ width: 32, height: 32, data })], { type: "image/png" }), "a.png");
    const answer = await server.app.request("/v1/images/edits", { method: "POST", body: form, headers });
    assert.equal(answer.status, 200, await answer.clone().text());
    assert.match((await answer.json()).data[0].url, /\/files\//);
  }
});

test("engine automatic1111: the check of the address, the models, the model chosen, the picture", async () => {
  const headers = { authorization: `Basic ${btoa("admin:key")}` };
  const get = async (path: string) => {
    const answer = await server.app.request(`/sdapi/v1/${path}`, { headers });
    assert.equal(answer.status, 200, path);
    return await answer.json();
  };
  await get("options");
  const refused = await server.app.request("/sdapi/v1/options", { headers: { authorization: "Basic eDp5" } });
  assert.equal(refused.status, 401);
  const menu = (await get("sd-models")).map((
    m: { title: string; model_name: string },
  ) => [m.title, m.model_name]);
  assert.deepEqual(menu, [["emoji", "emoji"]]);
  const options = await get("options");
  assert.equal(options.sd_model_checkpoint, "emoji");
  // It posts all of them back with the model changed.
  const chosen = await server.post("/sdapi/v1/options", { ...options, sd_model_checkpoint: menu[0][0] }, {
    headers,
  });
  assert.deepEqual([chosen.status, chosen.headers.get("tome-edge-ignored")], [200, null]);

  const body = {
    prompt: "a red apple",
    batch_size: 1,
    width: 512,
    height: 512,
    steps: 4,
    negative_prompt: "blurry",
    cfg_scale: 6.5,
    sampler_name: "Euler a",
    scheduler: "Automatic",
  };
  const answer = await server.post("/sdapi/v1/txt2img", body, { headers });
  const { images, info } = await answer.json();
  assert.equal(await sizeOf(images[0]), "512x512");
  const { ignored, sampler_name, cfg_scale, steps } = JSON.parse(info);
  assert.deepEqual([ignored, sampler_name, cfg_scale, steps], [[], "Euler a", 6.5, 4]);
});
