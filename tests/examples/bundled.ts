/** The examples that need `deno task build`: a page, and a module from a URL. Called by `bundle_test.ts`. */
import assert from "node:assert/strict";
import { copyFile, cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { findChromium, startChromium } from "../browser/chromium.ts";
import { build, write } from "../../tools/build.ts";
import { once, run, serve, undoAll, undoLater } from "../dist/places.ts";
import { missing } from "../support/missing.ts";

const examples = new URL("../../examples/", import.meta.url);

/** A clone after `deno task build`, as far as the examples need it, on a server. */
const clone = once(async () => {
  const path = await mkdtemp(join(tmpdir(), "tome-edge-clone-"));
  undoLater(() => rm(path, { recursive: true, force: true }));
  await write(join(path, "dist"), await build({ types: false }));
  await cp(examples, join(path, "examples"), { recursive: true });
  const place = await serve(path, {});
  undoLater(() => place.close());
  return place;
});

export async function testBundle(): Promise<void> {
  after(undoAll);

  test("url_import.js draws with the permissions that it names and no more", async () => {
    const { origin } = await clone();
    const cwd = await mkdtemp(join(tmpdir(), "tome-edge-url-"));
    undoLater(() => rm(cwd, { recursive: true, force: true }));
    await copyFile(new URL("url_import.js", examples), join(cwd, "url_import.js"));
    const { host } = new URL(origin);
    const flags = ["--no-prompt", "--no-lock", `--allow-import=${host}`, `--allow-net=${host}`];
    const args = ["url_import.js", `${origin}/dist/tome-edge.js`];
    const env = { DENO_DIR: join(cwd, "cache") };
    const out = await run([process.execPath, "run", ...flags, ...args], { cwd, env });
    assert.match(out, /^\d{4,} bytes of PNG from .+\n$/);
  });

  const executable = await findChromium();
  test("page.html draws what it is asked for", async () => {
    if (!executable) return missing("examples/page.html, for want of Chromium");
    const { origin } = await clone();
    const { context, close } = await startChromium(executable);
    undoLater(close);
    const page = await context.newPage();
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    await page.goto(`${origin}/examples/page.html`);
    const says = (start: string) =>
      page.waitForFunction(
        (start) => document.querySelector("output")!.textContent!.startsWith(start),
        start,
        {
          timeout: 120_000,
        },
      );
    await says("Ready: ");
    await page.click("button");
    await says("Drawn in ");
    const colours = await page.evaluate(() => {
      const { data } = document.querySelector("canvas")!.getContext("2d")!.getImageData(0, 0, 96, 96);
      return new Set(new Uint32Array(data.buffer)).size;
    });
    assert(colours > 100, `${colours} colours`);
    assert.deepEqual(errors, []);
    await page.close();
  });
}
