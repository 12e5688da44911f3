import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { encodePng } from "../../src/image/png.ts";
import { base64 } from "../../src/server/images/base64.ts";
import { startApp, type Started } from "./app.ts";
import { hugePng } from "./pictures.ts";

// One that waits is enough to fill the queue: what is malformed must be refused all the same.
let server: Started;
before(async () => {
  server = await startApp({ maxWaiting: 1, maxBodyBytes: 200_000, maxPixels: 512 * 512, maxImages: 8 });
  await server.service.load();
  const work = (job: { signal: AbortSignal }) =>
    new Promise<never>((_, reject) => job.signal.addEventListener("abort", () => reject(job.signal.reason)));
  for (let i = 0; i < 2; i++) {
    server.service.submit({ dialect: "test", images: 1, work }).ended.catch(() => {});
  }
});
after(async () => {
  assert.equal(server.service.queue.jobs.length, 2, "something malformed was queued");
  for (const job of server.service.queue.jobs) job.cancel();
  await server.service.close();
});

const PNG = encodePng({ width: 32, height: 32, data: new Uint8ClampedArray(32 * 32 * 4).fill(200) });
const image = base64(PNG), huge = base64(hugePng());
const cut = base64(PNG.slice(0, 60));
const prompt = "a red apple";
const long = "a".repeat(4001);
const file = (bytes: Uint8Array<ArrayBuffer> = PNG) => new Blob([bytes], { type: "image/png" });
function form(...fields: [name: string, value: string | Blob][]): FormData {
  const data = new FormData();
  for (const [name, value] of fields) data.append(name, value);
  return data;
}

interface Row {
  path: string;
  /** An object is sent as JSON, text as it is with the type of JSON. */
  body?: unknown;
  status: number;
  /** The field at fault. */
  param?: string;
  method?: string;
  headers?: Record<string, string>;
}

const PLAIN = "/generate", OPENAI = "/v1/images/generations", EDITS = "/v1/images/edits";
const TXT = "/sdapi/v1/txt2img", IMG = "/sdapi/v1/img2img", OPTIONS = "/sdapi/v1/options";
const merging = (token_merging: unknown) => ({ prompt, token_merging });
const overriding = (override_settings: unknown) => ({ prompt, override_settings });
const start = { prompt, init_images: [image] };

const ROWS: Row[] = [
  // Our own dialect.
  { path: PLAIN, body: "{oops", status: 400 },
  { path: PLAIN, body: "", status: 400 },
  { path: PLAIN, body: "[]", status: 400 },
  { path: PLAIN, body: "null", status: 400 },
  { path: PLAIN, body: "[".repeat(100_000), status: 400 },
  { path: PLAIN, body: {}, status: 400, param: "prompt" },
  { path: PLAIN, body: { prompt: 5 }, status: 400, param: "prompt" },
  { path: PLAIN, body: { prompt: "  " }, status: 400, param: "prompt" },
  { path: PLAIN, body: { prompt: long }, status: 400, param: "prompt" },
  { path: PLAIN, body: { prompt, negative_prompt: long }, status: 400, param: "negative_prompt" },
  { path: PLAIN, body: { prompt, promt: "" }, status: 400 },
  { path: PLAIN, body: { prompt, model: "../emoji" }, status: 404, param: "model" },
  { path: PLAIN, body: { prompt, model: "" }, status: 404, param: "model" },
  { path: PLAIN, body: { prompt, width: 98 }, status: 400, param: "width" },
  { path: PLAIN, body: { prompt, height: 99 }, status: 400, param: "height" },
  { path: PLAIN, body: { prompt, width: -4 }, status: 400, param: "width" },
  { path: PLAIN, body: { prompt, width: 1e9 }, status: 400, param: "width" },
  { path: PLAIN, body: { prompt, width: 16000 }, status: 400, param: "width" },
  { path: PLAIN, body: { prompt, width: 1024, height: 1024 }, status: 400, param: "width" },
  { path: PLAIN, body: { prompt, steps: 0 }, status: 400, param: "steps" },
  { path: PLAIN, body: { prompt, steps: 151 }, status: 400, param: "steps" },
  { path: PLAIN, body: { prompt, steps: 2.5 }, status: 400, param: "steps" },
  { path: PLAIN, body: { prompt, guidance_scale: -1 }, status: 400, param: "guidance_scale" },
  { path: PLAIN, body: { prompt, seed: -1 }, status: 400, param: "seed" },
  { path: PLAIN, body: '{"prompt":"x","seed":1e99}', status: 400, param: "seed" },
  { path: PLAIN, body: { prompt, sampler: "__proto__" }, status: 400, param: "sampler" },
  { path: PLAIN, body: { prompt, n: 9 }, status: 400, param: "n" },
  { path: PLAIN, body: { prompt, noise: "tpu" }, status: 400, param: "noise" },
  { path: PLAIN, body: { prompt, format: "gif" }, status: 400, param: "format" },
  { path: PLAIN, body: { prompt, quality: 101 }, status: 400, param: "quality" },
  { path: PLAIN, body: { prompt, image: "no base64!" }, status: 400, param: "image" },
  { path: PLAIN, body: { prompt, image: btoa("GIF89a") }, status: 400, param: "image" },
  { path: PLAIN, body: { prompt, image: cut }, status: 400, param: "image" },
  { path: PLAIN, body: { prompt, image: huge }, status: 400, param: "image" },
  { path: PLAIN, body: { prompt, image, mask: huge }, status: 400, param: "mask" },
  { path: PLAIN, body: { prompt, mask: image }, status: 400, param: "mask" },
  { path: PLAIN, body: { prompt, strength: 0.5 }, status: 400, param: "strength" },
  { path: PLAIN, body: { prompt, image, strength: 0.1, steps: 2 }, status: 400, param: "strength" },
  { path: PLAIN, body: merging({ ratio: 0.9 }), status: 400, param: "token_merging" },
  { path: PLAIN, body: merging({ sx: 0 }), status: 400, param: "token_merging" },
  { path: PLAIN, body: merging({ max_downsample: 3 }), status: 400, param: "token_merging.max_downsample" },
  { path: PLAIN, body: merging({ use_rand: 1 }), status: 400, param: "token_merging.use_rand" },
  { path: PLAIN, body: merging({ rate: 0.5 }), status: 400, param: "token_merging" },
  { path: PLAIN, body: merging(0.5), status: 400, param: "token_merging" },
  { path: PLAIN, body: { prompt }, headers: { "content-type": "text/plain" }, status: 415 },
  { path: PLAIN, body: { prompt }, headers: { accept: "text/html" }, status: 406 },
  { path: PLAIN, body: { prompt, n: 2 }, headers: { accept: "image/png" }, status: 406 },
  { path: PLAIN, body: { prompt, image: "A".repeat(200_000) }, status: 413 },
  { path: PLAIN, method: "GET", status: 405 },
  { path: "/jobs", method: "POST", body: {}, status: 405 },
  { path: "/jobs/none", method: "PATCH", body: {}, status: 405 },
  { path: "/jobs/none", method: "GET", status: 404 },
  { path: "/jobs/none", method: "DELETE", status: 404 },
  { path: "/files/..%2f..%2fetc%2fpasswd", method: "GET", status: 404 },
  { path: "/no/such/place", method: "PUT", status: 404 },
  // OpenAI's.
  { path: OPENAI, body: "{oops", status: 400 },
  { path: OPENAI, body: {}, status: 400, param: "prompt" },
  { path: OPENAI, body: { prompt: null }, status: 400, param: "prompt" },
  { path: OPENAI, body: { prompt: long }, status: 400, param: "prompt" },
  { path: OPENAI, body: { prompt, n: 0 }, status: 400, param: "n" },
  { path: OPENAI, body: { prompt, n: "1" }, status: 400, param: "n" },
  { path: OPENAI, body: { prompt, n: 9 }, status: 400, param: "n" },
  { path: OPENAI, body: { prompt, n: 2, stream: true }, status: 400, param: "n" },
  { path: OPENAI, body: { prompt, size: "big" }, status: 400, param: "size" },
  { path: OPENAI, body: { prompt, size: "0x64" }, status: 400, param: "size" },
  { path: OPENAI, body: { prompt, size: "2048x2048" }, status: 400, param: "size" },
  { path: OPENAI, body: { prompt, size: "50x50", upscale: false }, status: 400, param: "size" },
  { path: OPENAI, body: { prompt, response_format: "file" }, status: 400, param: "response_format" },
  { path: OPENAI, body: { prompt, output_format: "gif" }, status: 400, param: "output_format" },
  { path: OPENAI, body: { prompt, output_compression: 101 }, status: 400, param: "output_compression" },
  { path: OPENAI, body: { prompt, partial_images: 4 }, status: 400, param: "partial_images" },
  { path: OPENAI, body: { prompt, stream: "yes" }, status: 400, param: "stream" },
  { path: OPENAI, body: { prompt, model: "../../etc/passwd" }, status: 404, param: "model" },
  { path: OPENAI, body: { prompt, sampler: "heun" }, status: 400, param: "sampler" },
  { path: OPENAI, body: merging({ ratio: -1 }), status: 400, param: "token_merging" },
  { path: OPENAI, body: { prompt }, headers: { "content-type": "image/png" }, status: 415 },
  { path: OPENAI, body: { prompt, user: "x".repeat(200_000) }, status: 413 },
  { path: OPENAI, method: "GET", status: 405 },
  { path: "/v1/models/..%2Femoji", method: "GET", status: 404, param: "model" },
  { path: "/v1/images/variations", body: {}, status: 404 },
  { path: EDITS, body: { prompt }, status: 415 },
  {
    path: EDITS,
    body: "no boundary here",
    headers: { "content-type": "multipart/form-data; boundary=x" },
    status: 400,
  },
  { path: EDITS, body: form(["prompt", prompt]), status: 400, param: "image" },
  { path: EDITS, body: form(["image", file()]), status: 400, param: "prompt" },
  { path: EDITS, body: form(["prompt", prompt], ["image", "text"]), status: 400, param: "image" },
  {
    path: EDITS,
    body: form(["prompt", prompt], ["image", file(hugePng())]),
    status: 400,
    param: "image",
  },
  {
    path: EDITS,
    body: form(["prompt", prompt], ["image", file()], ["mask", file(PNG.slice(0, 60))]),
    status: 400,
    param: "mask",
  },
  {
    path: EDITS,
    body: form(["prompt", prompt], ["image", file()], [
      "mask",
      file(encodePng({ width: 8, height: 8, data: new Uint8ClampedArray(256) })),
    ]),
    status: 400,
    param: "mask",
  },
  { path: EDITS, body: form(["prompt", prompt], ["image", file()], ["n", "two"]), status: 400, param: "n" },
  {
    path: EDITS,
    body: form(["prompt", prompt], ["image", file()], ["token_merging[ratio]", "2"]),
    status: 400,
    param: "token_merging",
  },
  // AUTOMATIC1111's.
  { path: TXT, body: "{oops", status: 400 },
  { path: TXT, body: "[1]", status: 422 },
  { path: TXT, body: `{"script_args":${"[".repeat(9000)}${"]".repeat(9000)}}`, status: 400 },
  { path: TXT, body: { prompt: ["x"] }, status: 422, param: "prompt" },
  { path: TXT, body: { prompt: long }, status: 422, param: "prompt" },
  { path: TXT, body: { prompt, steps: 0 }, status: 422, param: "steps" },
  { path: TXT, body: { prompt, steps: 151 }, status: 422, param: "steps" },
  { path: TXT, body: { prompt, width: 63, upscale: false }, status: 422, param: "width" },
  { path: TXT, body: { prompt, width: 4096, height: 4096 }, status: 422, param: "width" },
  { path: TXT, body: { prompt, seed: -2 }, status: 422, param: "seed" },
  { path: TXT, body: { prompt, cfg_scale: "high" }, status: 422, param: "cfg_scale" },
  { path: TXT, body: { prompt, batch_size: 4, n_iter: 3 }, status: 422, param: "batch_size" },
  { path: TXT, body: { prompt, enable_hr: true, hr_scale: 2 }, status: 422, param: "hr_scale" },
  { path: TXT, body: { prompt, enable_hr: true, hr_scale: 99 }, status: 422, param: "hr_scale" },
  { path: TXT, body: { prompt, sampler_name: "UniPC" }, status: 400, param: "sampler_name" },
  { path: TXT, body: overriding("fast"), status: 422, param: "override_settings" },
  { path: TXT, body: overriding({ token_merging_ratio: 2 }), status: 422, param: "token_merging_ratio" },
  { path: TXT, body: overriding({ randn_source: "TPU" }), status: 422, param: "randn_source" },
  { path: TXT, body: overriding({ sd_model_checkpoint: "../../x" }), status: 404, param: "model" },
  { path: TXT, body: { prompt, infotext: "x\nSteps: 0, Seed: 1, Size: 1x1" }, status: 422, param: "steps" },
  { path: TXT, body: { prompt }, headers: { "content-type": "text/plain" }, status: 415 },
  { path: TXT, method: "DELETE", status: 405 },
  { path: IMG, body: { prompt }, status: 422, param: "init_images" },
  { path: IMG, body: { prompt, init_images: [] }, status: 422, param: "init_images" },
  { path: IMG, body: { prompt, init_images: image }, status: 422, param: "init_images" },
  { path: IMG, body: { prompt, init_images: ["%%%"] }, status: 422, param: "init_images" },
  { path: IMG, body: { prompt, init_images: [huge] }, status: 422, param: "init_images" },
  { path: IMG, body: { ...start, mask: cut }, status: 422, param: "mask" },
  { path: IMG, body: { ...start, denoising_strength: 1.5 }, status: 422, param: "denoising_strength" },
  { path: IMG, body: { ...start, inpainting_fill: 9 }, status: 422, param: "inpainting_fill" },
  { path: IMG, body: { ...start, mask_blur: -1 }, status: 422, param: "mask_blur" },
  { path: IMG, body: { prompt, init_images: Array(9).fill(image) }, status: 422, param: "batch_size" },
  { path: OPTIONS, body: "[]", status: 422 },
  { path: OPTIONS, body: { sd_model_checkpoint: "/etc/passwd" }, status: 404, param: "model" },
  { path: OPTIONS, body: { samples_format: "gif" }, status: 422, param: "samples_format" },
  { path: "/sdapi/v1/png-info", body: { image: "x" }, status: 422, param: "image" },
  { path: "/sdapi/v1/extra-single-image", body: {}, status: 404 },
];

test(`${ROWS.length} malformed requests: each its status, its dialect's shape, an id, no stack, nothing queued`, async () => {
  const wrong: string[] = [];
  for (const { path, body, status, param, method = "POST", headers = {} } of ROWS) {
    const raw = typeof body === "string" || body instanceof FormData ? body : JSON.stringify(body);
    const answer = await server.app.request(path, {
      method,
      headers: body instanceof FormData ? headers : { "content-type": "application/json", ...headers },
      body: body === undefined ? undefined : raw,
    });
    const text = await answer.text();
    const name = `${method} ${path} ${(typeof raw === "string" ? raw : "form").slice(0, 100)}`;
    const check = (holds: unknown, what: string) => {
      if (!holds) wrong.push(`${name}: ${what}, found ${answer.status} ${text.slice(0, 200)}`);
    };
    check(answer.status === status, `expected ${status}`);
    check(/^[\w-]{10,}$/.test(answer.headers.get("x-request-id") ?? ""), "expected a request id");
    check(!/\n\s+at |\.ts\b|file:\/\//.test(text), "expected no stack");
    const json = JSON.parse(text);
    const at = (keys: string[], of: object) => keys.every((key) => Object.hasOwn(of, key));
    let message: string, found: string | null | undefined;
    if (path.startsWith("/v1/")) {
      check(at(["message", "type", "param", "code"], json.error), "expected OpenAI's keys");
      message = json.error.message;
      found = json.error.param;
    } else if (path.startsWith("/sdapi/")) {
      check(at(["error", "detail", "body", "errors"], json), "expected AUTOMATIC1111's keys");
      message = json.detail;
      found = json.body;
    } else {
      check(/^application\/problem\+json/.test(answer.headers.get("content-type")!), "expected a problem");
      check(json.status === status && json.request_id, "expected the status and the id inside");
      message = json.detail;
      found = json.param;
    }
    check(message.length > 10 && message.length < 600, "expected a message of some words");
    check((found || undefined) === param, `expected the field ${param}`);
  }
  assert.deepEqual(wrong, []);
  assert(ROWS.length >= 60);
});
