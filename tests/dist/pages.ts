/** Pages that import the bundle from another origin. Called by `ways.ts`. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import type { GenerateOptions } from "../../src/mod.ts";
import type { LoadOptions } from "../../src/pipeline/pipeline.ts";
import { findChromium, startChromium } from "../browser/chromium.ts";
import { missing } from "../support/missing.ts";
import { assertDrawn, assertGolden, bytesOf, drawingModule, type Drawn, PICTURE, STRICT } from "./golden.ts";
import { once, serve, servedDist, undoLater } from "./places.ts";

const executable = await findChromium();

const browser = once(async () => {
  const { context, close } = await startChromium(executable!);
  undoLater(close);
  return context;
});

export function testPages(): void {
  if (!executable) {
    test("a page draws with the bundle", () => missing("the bundle in a page, for want of Chromium"));
    return;
  }

  test("a page of another origin draws on one thread, and says why", async () => {
    await assertDrawn(await draw({ isolated: false }), "1 thread (no shared memory here)");
  });

  test("a page that is cross-origin isolated draws on threads", async () => {
    await assertDrawn(await draw({ isolated: true }), "2 threads");
  });

  test("so does a Web Worker of it", async () => {
    await assertDrawn(await draw({ isolated: true, inWorker: true }), "2 threads");
  });

  test("a page draws the golden picture on the GPU", async () => {
    const drawn = await draw({ isolated: false, load: { device: "gpu" } });
    assert.match(drawn.device, /^GPU/);
    assertGolden(bytesOf(drawn));
  });
}

interface Options {
  isolated: boolean;
  load?: LoadOptions;
  picture?: GenerateOptions;
  inWorker?: boolean;
}

/** In a page of an origin of its own, whose policy allows what the README says and nothing else. */
async function draw(
  { isolated, load = STRICT, picture = PICTURE, inWorker = false }: Options,
): Promise<Drawn> {
  const { origin } = await servedDist();
  const policy = [
    "default-src 'none'",
    `script-src 'self' ${origin} 'wasm-unsafe-eval'`,
    // What a page's worker imports counts as a worker.
    inWorker ? `worker-src 'self' ${origin} blob:` : "worker-src blob:",
    `connect-src ${origin}`,
  ].join("; ");
  const isolation = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
  };
  const module = drawingModule(`${origin}/tome-edge.js`);
  const place = await serve({
    "/":
      "<!doctype html><meta charset=utf-8><title>tome-edge</title><script type=module src=/page.js></script>",
    "/page.js": `${module}\nglobalThis.draw = draw;`,
    "/worker.js": `${module}\nonmessage = async ({ data }) =>
      postMessage(await draw(...data).catch((error) => ({ device: String(error), png: "" })));`,
  }, { "content-security-policy": policy, ...isolated && isolation });
  let page: Page | undefined;
  try {
    page = await (await browser()).newPage();
    const errors: string[] = [];
    page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
    await page.goto(place.origin);
    const drawn = await page.evaluate(async ([load, picture, inWorker]) => {
      if (!inWorker) {
        const { draw } = globalThis as unknown as { draw(...args: unknown[]): Promise<Drawn> };
        return await draw(load, picture);
      }
      const worker = new Worker("/worker.js", { type: "module" });
      return await new Promise<Drawn>((resolve, reject) => {
        worker.onerror = (event) => reject(new Error(event.message ?? "the worker does not load"));
        worker.onmessage = ({ data }) => resolve(data);
        worker.postMessage([load, picture]);
      });
    }, [load, picture, inWorker] as const);
    assert.deepEqual(errors, []);
    return drawn;
  } finally {
    await page?.close();
    await place.close();
  }
}
