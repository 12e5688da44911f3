/** Every example as its user runs it. Once, under Deno: each picks the runtime that it is for. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { decodePng } from "../../src/image/png.ts";
import { bun, DENO, DENO_DEV, start } from "./run.ts";

const run = "Deno" in globalThis ? test : test.skip;

async function inFolder(body: (cwd: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "tome-edge-examples-"));
  try {
    await body(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A picture with more than a few colours, of that size. */
async function checkPicture(path: string, width: number, height: number) {
  const picture = await decodePng(await readFile(path));
  assert.deepEqual([picture.width, picture.height], [width, height]);
  const colours = new Set(new Uint32Array(picture.data.slice().buffer));
  assert(colours.size > 100, `${path} has ${colours.size} colours`);
  return picture;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Once it answers; within two minutes. */
async function until(url: string): Promise<Response> {
  for (let i = 0; i < 600; i++) {
    try {
      return await fetch(url);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
  throw new Error(`${url} does not answer`);
}

run("draw.ts draws on Deno and on Bun", () =>
  inFolder(async (cwd) => {
    for (const runtime of [DENO, bun()]) {
      const out = await start(runtime, "draw.ts", { cwd }).ended;
      assert.match(out, /^apple\.png: \d+ network calls in \d+\.\d s\n$/);
      const { text } = await checkPicture(join(cwd, "apple.png"), 96, 96);
      assert.match(text.parameters, /Seed: 3/);
      await rm(join(cwd, "apple.png"));
    }
  }));

run("step_callback.ts previews every step and stops when little changes", () =>
  inFolder(async (cwd) => {
    const out = await start(DENO, "step_callback.ts", { cwd }).ended;
    const steps = out.trim().split("\n");
    assert.equal(steps.pop(), "stopped early");
    assert(steps.length > 5 && steps.length < 50, out);
    steps.forEach((line, i) => assert.match(line, new RegExp(`^step ${i + 1} of 50: changed by `)));
    await checkPicture(join(cwd, "preview.png"), 96, 96);
  }));

run("ratio_sheet.ts puts five ratios side by side", () =>
  inFolder(async (cwd) => {
    const out = await start(DENO, "ratio_sheet.ts", { cwd, args: ["a red apple", "64", "sheet.png", "5"] })
      .ended;
    const rows = out.trim().split("\n").slice(1, -1).map((line) => line.split(/\s+/));
    assert.deepEqual(rows.map(([ratio]) => ratio), ["0.00", "0.25", "0.50", "0.60", "0.75"]);
    assert.equal(rows[0][3], "Infinity");
    // Pictures of two prompts are at 7 to 11 dB.
    for (const [, , , psnr] of rows.slice(1)) assert(Number(psnr) > 12, out);
    await checkPicture(join(cwd, "sheet.png"), 5 * 64, 64);
  }));

run("merge_tokens.ts halves the tokens and gives them back", () =>
  inFolder(async (cwd) => {
    assert.equal(await start(DENO, "merge_tokens.ts", { cwd }).ended, "256 tokens → 128 → 256\n");
  }));

run(
  "vit_block.ts saves more than half of the multiply-adds and changes little",
  () =>
    inFolder(async (cwd) => {
      const out = await start(DENO, "vit_block.ts", { cwd }).ended;
      const [, merged, likeness] = /^576 tokens, (\d+) merged: cosine likeness (\S+)$/m.exec(out)!;
      assert.equal(merged, "288");
      assert(Number(likeness) > 0.99, out);
      const [, all, half] = /^multiply-adds: (\S+) M → (\S+) M with matching$/m.exec(out)!;
      assert(Number(half) < 0.5 * Number(all), out);
    }),
);

run(
  "bun_server.ts serves a page, a picture and the API; openai_client.ts draws from it",
  () =>
    inFolder(async (cwd) => {
      const port = await freePort();
      const server = start(bun(), "bun_server.ts", { cwd, env: { PORT: `${port}` } });
      try {
        const url = `http://127.0.0.1:${port}`;
        const page = await until(`${url}/`);
        assert.match(await page.text(), /<img src="\/apple\.png"/);
        const apple = await fetch(`${url}/apple.png`);
        assert.equal(apple.headers.get("content-type"), "image/png");
        const { width, text } = await decodePng(new Uint8Array(await apple.arrayBuffer()));
        assert.equal(width, 96);
        assert.match(text.parameters, /Seed: 3/);

        const out = await start(DENO_DEV, "openai_client.ts", { cwd, args: [`${url}/pictures`, "a lemon"] })
          .ended;
        assert.deepEqual(out.trim().split("\n"), ["lemon_0.png", "lemon_1.png", "lemon.png"]);
        for (const name of await readdir(cwd)) await checkPicture(join(cwd, name), 96, 96);
      } finally {
        server.stop();
        await server.ended.catch(() => {});
      }
    }),
);
