import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { parseParameters, SAMPLERS } from "../../src/image/parameters.ts";
import { decodePng } from "../../src/image/png.ts";
import { samplerNames } from "../../src/samplers/sampler.ts";
import { groupsOf, layerName, tell } from "../../src/server/page/client/groups.ts";
import {
  fromParameters,
  fromRequest,
  type Settings,
  START,
  toRequest,
  withRatio,
} from "../../src/server/page/client/settings.ts";
import { call, inFolder } from "../cli/cli.ts";
import { bytesOf, sse, startApp, type Started } from "./app.ts";

let server: Started;
before(async () => {
  server = await startApp();
});
after(() => server.service.close());

const QUICK: Settings = { ...START, width: "64", height: "64", steps: "2", seed: "3", ratio: 0.5 };

/** As the page asks. */
async function generate(request: ReturnType<typeof toRequest>): Promise<Uint8Array> {
  const answer = await server.post("/generate", { ...request, previews: true }, {
    accept: "text/event-stream",
  });
  for await (const { event, data } of sse(answer)) {
    assert.notEqual(event, "error", JSON.stringify(data));
    if (event === "done") return bytesOf(data.images[0].b64_json);
  }
  throw new Error("The stream ended without a picture");
}

test("the page and its files: types, security headers, nothing inline, nothing from elsewhere", async () => {
  const types = {
    "/": "text/html; charset=utf-8",
    "/page.js": "text/javascript; charset=utf-8",
    "/page.css": "text/css; charset=utf-8",
    "/page.licenses.txt": "text/plain; charset=utf-8",
  };
  for (const [path, type] of Object.entries(types)) {
    const answer = await server.app.request(path);
    assert.equal(answer.status, 200, path);
    assert.equal(answer.headers.get("content-type"), type);
    assert.equal(answer.headers.get("cross-origin-embedder-policy"), "require-corp");
    assert.doesNotMatch(answer.headers.get("content-security-policy")!, /unsafe/);
    // Kept by the browser, and asked for again: 304 while it is the same.
    assert.equal(answer.headers.get("cache-control"), "no-cache");
    const tag = answer.headers.get("etag")!;
    const again = await server.app.request(path, { headers: { "if-none-match": tag } });
    assert.equal(again.status, 304, path);
    assert.equal(await again.text(), "");
    assert.equal((await server.app.request(path, { headers: { "if-none-match": '"x"' } })).status, 200);
    assert((await answer.text()).length > 500, path);
  }
  const html = await (await server.app.request("/")).text();
  assert.doesNotMatch(html, /<script(?![^>]* src=)|<style| style=| on\w+=/);
  for (const [, address] of html.matchAll(/(?:src|href)="([^"]+)"/g)) {
    assert.match(address, /^(\/[\w.]*|data:image\/svg\+xml,.*)$/);
  }
  const licences = await (await server.app.request("/page.licenses.txt")).text();
  for (const name of ["hono", "fflate", "idb-keyval", "eventsource-parser"]) assert(licences.includes(name));
});

test("a server with a key asks browsers for it", async () => {
  const { app } = await startApp({ apiKey: "a key" });
  for (const path of ["/", "/page.js", "/models"]) {
    const answer = await app.request(path);
    assert.equal(answer.status, 401);
    assert.match(answer.headers.get("www-authenticate")!, /^Basic /);
    const headers = { authorization: `Basic ${btoa("anybody:a key")}` };
    assert.equal((await app.request(path, { headers })).status, 200);
  }
});

test("the picture before merging has the bytes of ratio 0 on the command line, and so has the one after", () =>
  inFolder(async (path) => {
    const flags = ["--size", "64x64", "--steps", "2", "--seed", "3", "--device", "cpu", "--quiet"];
    for (const ratio of [0, 0.5]) {
      const out = path(`${ratio}.png`);
      const { code, err } = await call(
        "generate",
        START.prompt,
        ...flags,
        "--ratio",
        String(ratio),
        "--out",
        out,
      );
      assert.equal(code, 0, err);
      assert.deepEqual(
        await generate(withRatio(toRequest(QUICK), ratio)),
        new Uint8Array(await readFile(out)),
      );
    }
  }));

test("the form asks for what it holds, and takes it back from the request and from the picture", async () => {
  const settings: Settings = {
    ...QUICK,
    negativePrompt: "blurry, red",
    guidanceScale: "4.5",
    sampler: "dpm++_2m_karras",
    keepSeed: true,
    ratio: 0.3,
    sx: "3",
    sy: "4",
    maxDownsample: "2",
    useRand: false,
    mergeCrossAttn: true,
    mergeMlp: true,
  };
  assert.deepEqual(toRequest(settings), {
    prompt: settings.prompt,
    negative_prompt: "blurry, red",
    model: undefined,
    width: 64,
    height: 64,
    steps: 2,
    guidance_scale: 4.5,
    sampler: "dpm++_2m_karras",
    seed: 3,
    token_merging: {
      ratio: 0.3,
      sx: 3,
      sy: 4,
      max_downsample: 2,
      use_rand: false,
      merge_attn: true,
      merge_crossattn: true,
      merge_mlp: true,
    },
  });
  assert.deepEqual(fromRequest(toRequest(settings)), settings);
  const { text } = decodePng(await generate(toRequest(settings)));
  assert.deepEqual(fromParameters(parseParameters(text.parameters), ["emoji"]), {
    notes: [],
    settings: { ...settings, model: "emoji" },
  });
  assert.deepEqual(
    toRequest({ ...START, width: "", height: "", seed: "", sx: "" }).token_merging.sx,
    undefined,
  );
});

test("a picture of AUTOMATIC1111's: what is known here, and notes on what is not", () => {
  const parameters = parseParameters(
    "a lighthouse at dusk\nNegative prompt: fog\n" +
      "Steps: 20, Sampler: DPM++ SDE, Schedule type: Karras, CFG scale: 7, Seed: 42, Size: 512x768, " +
      "Model hash: 6ce0161689, Model: v1-5-pruned, Denoising strength: 0.6, RNG: NV, Version: v1.10.1",
  );
  const { settings, notes } = fromParameters(parameters, ["emoji"]);
  assert.deepEqual(settings, {
    ...START,
    prompt: "a lighthouse at dusk",
    negativePrompt: "fog",
    steps: "20",
    guidanceScale: "7",
    seed: "42",
    keepSeed: true,
    width: "512",
    height: "768",
    ratio: 0,
  });
  assert.equal(notes.length, 4);
  assert.match(notes.join(), /DPM\+\+ SDE Karras.*v1-5-pruned.*another picture.*CUDA/);
});

test("the page offers the samplers that there are", () => {
  assert.deepEqual(Object.keys(SAMPLERS).sort(), [...samplerNames].sort());
});

test("a map in words", () => {
  const map = {
    name: "down_blocks.0.attentions.1.transformer_blocks.0",
    width: 3,
    height: 2,
    image: 0,
    r: 3,
    into: Int32Array.of(4, 1, 1, 4, 4, 5),
  };
  const groups = groupsOf(map);
  assert.deepEqual([...groups], [[4, [0, 3]], [1, [2]]]);
  assert.deepEqual(
    [0, 1, 2, 4, 5].map((token) => tell(token, map, groups)),
    [
      "The token at row 1, column 1 was merged into row 2, column 2, with one other.",
      "The token at row 1, column 2 took one other in.",
      "The token at row 1, column 3 was merged into row 1, column 2, alone.",
      "The token at row 2, column 2 took 2 others in.",
      "The token at row 2, column 3 stayed by itself.",
    ],
  );
  assert.equal(layerName(map.name), "Down 0, attention 1");
  assert.equal(layerName("mid_block.attentions.0.transformer_blocks.0"), "Mid, attention 0");
  assert.equal(layerName("something.else"), "something.else");
});
