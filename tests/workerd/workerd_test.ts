/** Cloudflare's own runtime runs the example. On Deno alone: what is tested is the same on both. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { bipartiteSoftMatchingRandom2d, createBackend, EMBEDDED_MODEL, loadPipeline } from "../../src/mod.ts";
import { serveFiles } from "../checkpoint/http_server.ts";
import { bundleForWorkerd } from "./bundle.ts";

const EXAMPLE = new URL("../../examples/workerd/", import.meta.url);
const KERNELS = "kernels.strict.single.wasm";
/** Starting takes a second on a busy machine. */
const START_MS = 60_000;

/** The example's worker, and the model, each on a port of loopback. */
async function withWorker(body: (url: string, requests: () => number) => Promise<void>): Promise<void> {
  const { text, imports } = await bundleForWorkerd(new URL("worker.ts", EXAMPLE));
  assert.deepEqual(imports, [`./${KERNELS}`], "modules that workerd has not");
  const folder = await mkdtemp(join(tmpdir(), "tome-edge-workerd-"));
  const models = await serveFiles(fileURLToPath(new URL("../", EMBEDDED_MODEL)));
  const { default: workerd } = await import("workerd");
  await writeFile(join(folder, "worker.js"), text);
  await copyFile(new URL(`../../asm/pkg/${KERNELS}`, import.meta.url), join(folder, KERNELS));
  await copyFile(new URL("config.capnp", EXAMPLE), join(folder, "config.capnp"));
  const child = spawn(
    (workerd as unknown as { default?: string }).default ?? workerd as unknown as string,
    ["serve", join(folder, "config.capnp"), "--socket-addr=http=127.0.0.1:0", "--control-fd=1"],
    { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, MODEL: `${models.url}emoji/` } },
  );
  const ended = new Promise((resolve) => child.on("close", resolve));
  let output = "";
  child.stderr.on("data", (data) => output += data);
  try {
    const port = await new Promise<number>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`workerd does not start: ${output}`)), START_MS);
      child.on("error", reject);
      child.on("close", () => reject(new Error(`workerd ended: ${output}`)));
      child.stdout.on("data", (data) => {
        const listening = /"event":"listen".*"port":(\d+)/.exec(output += data);
        if (!listening) return;
        clearTimeout(timer);
        resolve(Number(listening[1]));
      });
    });
    await body(`http://127.0.0.1:${port}`, () => models.seen.length);
  } finally {
    child.kill("SIGKILL");
    await ended;
    await models.close();
    await rm(folder, { recursive: true });
  }
}

test("workerd merges tokens and draws a picture, to the byte as here", {
  skip: "Bun" in globalThis ? "on Deno" : false,
}, () =>
  withWorker(async (url, requests) => {
    const [width, height, channels, r] = [16, 12, 40, 60];
    const x = Float32Array.from(
      { length: width * height * channels },
      (_, i) => Math.fround(Math.sin(i * i)),
    );
    const backend = await createBackend("cpu", { kernels: "strict", threads: 1 });
    const plan = await bipartiteSoftMatchingRandom2d(backend, x, { batch: 1, width, height, channels, r });
    const expected = await plan.merge(x, channels);
    await backend.dispose();
    const query = new URLSearchParams({ width, height, channels, r } as unknown as Record<string, string>);
    const merged = await fetch(`${url}/merge?${query}`, { method: "POST", body: x });
    assert.equal(merged.status, 200);
    assert.deepEqual(new Float32Array(await merged.arrayBuffer()), expected);
    const refused = await fetch(`${url}/merge?${query}`, { method: "POST", body: x.subarray(1) });
    assert.equal(refused.status, 400);
    assert.match(await refused.text(), /metric/);

    const pipe = await loadPipeline(undefined, { device: "cpu", kernels: "strict", worker: false });
    const { images } = await pipe.generate({
      prompt: "a 3d icon of a red apple",
      seed: 1,
      steps: 2,
      width: 64,
      height: 64,
      tokenMerging: { ratio: 0.5 },
    });
    await pipe.dispose();
    for (let time = 0; time < 2; time++) {
      const drawn = await fetch(`${url}/draw?steps=2&seed=1&ratio=0.5`);
      assert.equal(drawn.status, 200, drawn.ok ? "" : await drawn.text());
      assert.deepEqual(new Uint8Array(await drawn.arrayBuffer()), images[0].png());
    }
    // A Worker may make 50 requests of its own on the free plan.
    assert.ok(requests() <= 32, `${requests()} requests`);
  }));
