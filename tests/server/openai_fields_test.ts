import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { encodePng } from "../../src/image/png.ts";
import { ImagesSchema } from "../../src/server/openai/schema.ts";
import { TokenMergingSchema } from "../../src/server/token_merging.ts";
import { sse, startApp, type Started } from "./app.ts";

let server: Started;
before(async () => {
  server = await startApp();
});
after(() => server.service.close());

// deno-lint-ignore no-explicit-any
type Json = any;
/** What a change of a field must do: other pictures, none but a note that it is ignored, or what the function asserts. */
type Effect = "pixels" | "ignored" | ((changed: Shown, base: Shown) => void);
type Row = [field: string, change: Json, effect: Effect];

interface Shown {
  /** The pictures, base64. */
  pictures: string[];
  ignored: string[];
  json: Json;
}

const BODY = { prompt: "a red apple", size: "32x32", seed: 3, steps: 2, response_format: "b64_json" };

function shown(json: Json): Shown {
  return { pictures: json.data.map((d: Json) => d.b64_json), ignored: json.tome_edge.ignored, json };
}

async function generate(change: Json): Promise<Shown> {
  const answer = await server.post("/v1/images/generations", { ...BODY, ...change });
  const json = await answer.json();
  assert.equal(answer.status, 200, JSON.stringify(json));
  assert.equal(answer.headers.get("tome-edge-ignored") ?? "", json.tome_edge.ignored.join(", "));
  return shown(json);
}

async function assertEffects(draw: (change: Json) => Promise<Shown>, rows: readonly Row[]): Promise<void> {
  const base = await draw({});
  const seen = new Map([[base.pictures.join(), "nothing"]]);
  for (const [field, change, effect] of rows) {
    const changed = await draw(change);
    const key = changed.pictures.join(), name = `${field}: ${JSON.stringify(change).slice(0, 80)}`;
    if (effect === "pixels") {
      assert(!seen.has(key), `${name} draws what ${seen.get(key)} draws`);
      assert.deepEqual(changed.ignored, [], name);
      seen.set(key, name);
    } else if (effect === "ignored") {
      assert.equal(key, base.pictures.join(), `${name} is ignored and changes the picture`);
      assert.deepEqual(changed.ignored, [field]);
    } else effect(changed, base);
  }
}

const merging = (options: Json): Json => ({ token_merging: { ratio: 0.5, ...options } });
const ROWS: Row[] = [
  ["prompt", { prompt: "a lemon" }, "pixels"],
  ["model", { model: "dall-e-3" }, "ignored"],
  ["model", { model: "emoji" }, ({ pictures, ignored }, base) => {
    assert.deepEqual([pictures, ignored], [base.pictures, []]);
  }],
  ["n", { n: 2 }, ({ pictures, json }, base) => {
    assert.deepEqual([pictures[0], json.tome_edge.seeds], [base.pictures[0], [3, 4]]);
    assert.equal(json.usage.output_tokens, 2 * base.json.usage.output_tokens);
  }],
  ["size", { size: "48x32" }, "pixels"],
  ["size", { size: "auto", steps: 1 }, ({ json }) => {
    assert.deepEqual([json.size, json.tome_edge.drawn], ["96x96", "96x96"]);
  }],
  ["size", { size: "512x512", steps: 1 }, ({ json }) => {
    assert.deepEqual([json.size, json.tome_edge.drawn], ["512x512", "96x96"]);
  }],
  ["upscale", { size: "224x224", upscale: false, steps: 1 }, ({ json }) => {
    assert.deepEqual([json.size, json.tome_edge.drawn], ["224x224", "224x224"]);
  }],
  ["response_format", { response_format: "url" }, ({ json }) => {
    assert.deepEqual(Object.keys(json.data[0]), ["url"]);
  }],
  ["response_format", { response_format: null }, ({ json }) => assert(json.data[0].url)],
  ["output_format", { output_format: "webp" }, "pixels"],
  ["output_format", { output_format: "jpeg" }, "pixels"],
  ["output_format", { output_format: "jpeg" }, ({ json }) => assert.equal(json.output_format, "jpeg")],
  ["output_compression", { output_format: "jpeg", output_compression: 10 }, "pixels"],
  ["output_compression", { output_compression: 50 }, "ignored"],
  ["quality", { quality: "hd" }, "ignored"],
  ["background", { background: "transparent" }, "ignored"],
  ["moderation", { moderation: "low" }, "ignored"],
  ["style", { style: "vivid" }, "ignored"],
  ["user", { user: "me" }, "ignored"],
  ["input_fidelity", { input_fidelity: "high" }, "ignored"],
  ["partial_images", { partial_images: 2 }, "ignored"],
  ["something_new", { something_new: [1] }, "ignored"],
  ["negative_prompt", { negative_prompt: "red" }, "pixels"],
  ["seed", { seed: 4 }, "pixels"],
  ["steps", { steps: 3 }, "pixels"],
  ["guidance_scale", { guidance_scale: 2 }, "pixels"],
  ["sampler", { sampler: "euler" }, "pixels"],
  ["strength", { strength: 0.5 }, "ignored"],
  ["token_merging.ratio", merging({}), "pixels"],
  ["token_merging.ratio", merging({ ratio: 0.4 }), "pixels"],
  ["token_merging.ratio", merging({ ratio: 0 }), ({ pictures }, base) => {
    assert.deepEqual(pictures, base.pictures);
  }],
  ["token_merging.sx", merging({ sx: 4 }), "pixels"],
  ["token_merging.sy", merging({ sy: 4 }), "pixels"],
  ["token_merging.max_downsample", merging({ max_downsample: 2 }), "pixels"],
  ["token_merging.use_rand", merging({ use_rand: false }), "pixels"],
  ["token_merging.merge_mlp", merging({ merge_mlp: true }), "pixels"],
  ["token_merging.merge_crossattn", merging({ merge_crossattn: true }), "pixels"],
  ["token_merging.merge_attn", merging({ merge_mlp: true, merge_attn: false }), "pixels"],
  ["token_merging", merging({}), ({ json }) => {
    const { ratio, tokens, ceiling } = json.tome_edge.token_merging;
    assert.deepEqual([ratio, tokens[0].before, tokens[0].after], [0.5, 64, 32]);
    assert(ceiling > 1);
  }],
];

test("every field of generations changes the pixels or the answer, or is said to be ignored", async () => {
  await assertEffects(generate, ROWS);
  const rows = new Set(ROWS.map(([field]) => field));
  const fields = Object.keys(ImagesSchema.shape).filter((field) => field !== "stream"); // below
  for (const field of fields) assert(rows.has(field), `no row shows what ${field} does`);
  const merging = TokenMergingSchema.shape;
  for (const field of Object.keys(merging)) assert(rows.has(`token_merging.${field}`), field);
});

/** Left red, right transparent or green. */
function halves(transparent: boolean, colour: readonly number[]): Blob {
  const data = new Uint8ClampedArray(32 * 32 * 4).fill(255);
  for (let p = 0; p < 32 * 32; p++) {
    data.set(p % 32 < 16 ? [...colour, 255] : [0, 200, 0, transparent ? 0 : 255], p * 4);
  }
  return new Blob([encodePng({ width: 32, height: 32, data })], { type: "image/png" });
}
const picture = halves(false, [200, 0, 0]), hole = halves(true, [200, 0, 0]);

function form(fields: Json): FormData {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    for (const one of Array.isArray(value) ? value : [value]) data.append(name, one as string);
  }
  return data;
}

test("every field of edits changes the pixels or the answer, or is said to be ignored", async () => {
  const edit = async (change: Json): Promise<Shown> => {
    const { image = picture, ...rest } = change;
    const body = form({ ...BODY, steps: 3, ...image && { image }, ...rest });
    const answer = await server.app.request("/v1/images/edits", { method: "POST", body });
    const json = await answer.json();
    assert.equal(answer.status, 200, JSON.stringify(json));
    return shown(json);
  };
  const same: Effect = ({ pictures, ignored }, base) =>
    assert.deepEqual([pictures, ignored], [base.pictures, []]);
  await assertEffects(edit, [
    ["prompt", { prompt: "a lemon" }, "pixels"],
    ["image", { image: halves(false, [0, 0, 200]) }, "pixels"],
    ["image[]", { image: null, "image[]": picture }, same],
    ["image", { image: [picture, hole] }, ({ pictures, ignored }, base) => {
      assert.deepEqual([pictures, ignored], [base.pictures, ["image (beyond the first)"]]);
    }],
    ["image", { image: hole }, "pixels"],
    ["mask", { mask: hole }, ({ pictures }, base) => assert.notDeepEqual(pictures, base.pictures)],
    ["n", { n: "2" }, ({ pictures }, base) => {
      assert.deepEqual([pictures.length, pictures[0]], [2, base.pictures[0]]);
    }],
    ["size", { size: "48x32" }, "pixels"],
    ["size", { size: "auto" }, same],
    ["output_format", { output_format: "webp", output_compression: "20" }, "pixels"],
    ["seed", { seed: "4" }, "pixels"],
    ["steps", { steps: "4" }, "pixels"],
    ["strength", { strength: "0.4" }, "pixels"],
    ["guidance_scale", { guidance_scale: "2" }, "pixels"],
    ["negative_prompt", { negative_prompt: "red" }, "pixels"],
    ["sampler", { sampler: "euler" }, "pixels"],
    ["token_merging", { token_merging: '{"ratio": 0.5}' }, "pixels"],
    ["token_merging", { "token_merging[ratio]": "0.4", "token_merging[use_rand]": "false" }, "pixels"],
    ["background", { background: "opaque" }, "ignored"],
    ["user", { user: "me" }, "ignored"],
  ]);
});

test("stream and partial_images: as many partial pictures as asked for, of both kinds", async () => {
  for (const path of ["generations", "edits"]) {
    for (const partial_images of [undefined, 0, 1, 3]) {
      const body = { ...BODY, steps: 5, stream: true, ...partial_images !== undefined && { partial_images } };
      const answer = path === "edits"
        ? await server.app.request("/v1/images/edits", {
          method: "POST",
          body: form({ ...body, image: picture, strength: 1 }),
        })
        : await server.post("/v1/images/generations", body);
      assert.match(answer.headers.get("content-type")!, /^text\/event-stream/);
      assert.equal(answer.headers.get("tome-edge-ignored"), null);
      const kind = path === "edits" ? "image_edit" : "image_generation", types: string[] = [];
      let last: Json;
      for await (const { event, data } of sse(answer)) {
        assert.equal(event, data.type);
        types.push(data.type);
        last = data;
      }
      const partial = Array(partial_images ?? 0).fill(`${kind}.partial_image`);
      assert.deepEqual(types, [...partial, `${kind}.completed`]);
      if (path === "generations") {
        assert.deepEqual([last.b64_json], (await generate({ steps: 5 })).pictures);
      }
    }
  }
  const asked = await server.post("/v1/images/generations", {
    ...BODY,
    stream: true,
    response_format: "url",
  });
  assert.equal(asked.headers.get("tome-edge-ignored"), "response_format");
  for await (const _ of sse(asked));
});

test("fields whose names no header can hold are told all the same", async () => {
  const names = Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`a${i}`, 1]));
  const answer = await server.post("/v1/images/generations", {
    ...BODY,
    "größe\n": 1,
    ["x".repeat(5000)]: 1,
    ...names,
  });
  assert.equal(answer.status, 200);
  assert.match(answer.headers.get("tome-edge-ignored")!, /^gr\?\?e\?, x{100}, a0, .*, and 12 more$/);
  assert.equal((await answer.json()).tome_edge.ignored.length, 62);
});

test("behind a proxy, URLs begin with what the server is told", async () => {
  const { post, service, app } = await startApp({ publicUrl: "https://pictures.example/tome/" });
  try {
    const answer = await post("/v1/images/generations", { ...BODY, steps: 1, response_format: "url" });
    const [, path] = /^https:\/\/pictures\.example\/tome(\/files\/.+)$/.exec(
      (await answer.json()).data[0].url,
    )!;
    assert.equal((await app.request(path)).status, 200);
  } finally {
    await service.close();
  }
});
