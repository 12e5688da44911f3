import assert from "node:assert/strict";
import { after, test } from "node:test";
import { loadPipeline } from "../../src/mod.ts";
import { serveFiles } from "../checkpoint/http_server.ts";
import { FAMILIES } from "../ops/cases.ts";
import { missing } from "../support/missing.ts";
import { inRoot } from "../../tools/build/plugins.ts";
import { type Browser, findChromium, openChromium } from "./chromium.ts";

const PICTURE = {
  prompt: "a 3d icon of a red apple",
  seed: 1,
  steps: 2,
  width: 64,
  height: 64,
  tokenMerging: { ratio: 0.5 },
};

const path = await findChromium();
if (path) {
  let browser: Promise<Browser>;
  // Chromium starts with the first test, so that a failure to start is that test's.
  const open = () => browser ??= openChromium(path);
  after(async () => (await browser)?.close());

  // SwiftShader is slow: one runtime's tests are enough.
  const gpu = !("Bun" in globalThis);
  const every = 7;
  for (const device of gpu ? ["cpu", "gpu"] as const : ["cpu"] as const) {
    test(`every family of operations agrees with the reference in Chromium, on the ${device}`, async () => {
      const page = await open();
      const answer = await page.run({ kind: "ops", device, every });
      assert.ok(answer.kind === "ops", JSON.stringify(answer));
      assert.deepEqual(answer.failures, [], answer.device);
      if (device === "gpu") assert.match(answer.device, /, subgroups of \d/); // SwiftShader has them
      assert.equal(
        answer.checked,
        Object.values(FAMILIES).reduce((sum, cases) => sum + Math.ceil(cases.length / every), 0),
      );
    });
  }

  test("a model from another origin: let in, cached and asked for once; shut out, it is said why", async () => {
    const page = await open();
    const small = "tests/goldens/sd15_small/";
    const draw = (model: string) =>
      page.run({ kind: "picture", model, load: { device: "cpu", kernels: "strict" }, options: PICTURE });
    // A page may not read ETag and Content-Range unless they are exposed; a date and a length it may.
    const server = await serveFiles(inRoot("."), {
      headers: { "access-control-allow-origin": "*" },
      validator: () => ({ "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT", etag: '"hidden"' }),
    });
    const closed = await serveFiles(inRoot("."));
    try {
      const expected = await drawHere(inRoot(small));
      for (const [i, methods] of [["GET", "HEAD"], ["HEAD"]].entries()) {
        server.seen.length = 0;
        const answer = await draw(server.url + small);
        assert.ok(answer.kind === "picture", JSON.stringify(answer));
        assert.deepEqual(answer.data, expected);
        assert.equal(answer.notes, undefined);
        const weights = server.seen.filter((s) =>
          s.path.endsWith("unet/diffusion_pytorch_model.safetensors")
        );
        assert.deepEqual(weights.map((s) => s.method), methods, `time ${i}`);
      }
      const answer = await draw(closed.url + small);
      assert.ok(answer.kind === "error", JSON.stringify(answer));
      assert.match(
        answer.message,
        /cannot be reached, or does not answer with .*Access-Control-Allow-Origin: http:/,
      );
    } finally {
      await server.close();
      await closed.close();
    }
  });
} else {
  test("Chromium draws what is drawn here", () =>
    missing("WebGPU and the kernels in a browser, for want of Chromium"));
}

async function drawHere(model: string): Promise<number[]> {
  const pipe = await loadPipeline(model, { device: "cpu", kernels: "strict", worker: false });
  const { images } = await pipe.generate(PICTURE);
  await pipe.dispose();
  return [...images[0].data];
}
