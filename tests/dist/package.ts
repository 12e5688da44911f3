/** The npm package: what is in it, and programs that have it installed. Called by `ways.ts`. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { decodePng } from "../../src/image/png.ts";
import { missing } from "../support/missing.ts";
import { answerOf, assertDrawn, drawingProgram, PICTURE } from "./golden.ts";
import { builtPackage, folderOf, once, run } from "./places.ts";

/** Pinned here and not in package.json: nothing else needs them. */
const PUBLINT = "publint@0.3.25", ATTW = "@arethetypeswrong/cli@0.18.5";
/** Relaxed SIMD, which Node 20 lacks, came with 22. */
const NEWER_NODE = "node@24";

/** The embedded model as it runs: neither its goldens nor its training. */
const MODEL = `LICENSE README.md model_index.json tome_edge.json scheduler/scheduler_config.json
  text_encoder/config.json text_encoder/model.safetensors tokenizer/merges.txt tokenizer/special_tokens_map.json
  tokenizer/tokenizer_config.json tokenizer/vocab.json unet/config.json
  unet/diffusion_pytorch_model.safetensors vae/config.json vae/diffusion_pytorch_model.safetensors`;

const SERVER = `
import { DeviceError } from "tome-edge";
import { createApp, Service } from "tome-edge/server";
const log = (line) => line.includes('"level":"warning"') && console.log(line);
const service = await Service.start({ load: { device: "cpu", threads: 1 }, log });
const app = createApp(service);
console.log((await app.request("/healthz")).status, (await app.request("/readyz")).status);
const refused = await Service.start({ load: { device: "cpu", threads: 1, module: new WebAssembly.Module(
  Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0)) } });
console.log(await refused.load().catch((error) => error instanceof DeviceError));
await service.load();
const drawn = await app.request("/generate", {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ prompt: "apple", steps: 1, width: 64, height: 64, format: "webp" }),
});
const bytes = await drawn.text();
console.log(drawn.status, drawn.headers.get("content-type"), bytes.slice(0, 4), bytes.slice(8, 12));
await service.close(0);
`;
/** No warning in the log: the worker of pictures runs, too. */
const SERVED = "200 503\ntrue\n200 image/webp RIFF WEBP\n";

/** The tarball's path. */
const packed = once(async () => {
  const { path, outputs } = await builtPackage();
  const [{ filename, files }] = JSON.parse(await run(["npm", "pack", "--json"], { cwd: path }));
  const expected = [
    ...["LICENSE", "README.md", "package.json", "deno.json", "bin/tome-edge.js"],
    "dist/kernels.strict.single.wasm",
    ...outputs.map(({ name }) => `dist/${name}`),
    ...MODEL.split(/\s+/).map((name) => `dist/models/emoji/${name}`),
  ];
  assert.deepEqual(files.map(({ path }: { path: string }) => path).sort(), expected.sort());
  return join(path, filename);
});

/** A project of Bun's that has it, with the packages that it needs. Node's programs run in it too. */
const project = once(async () => {
  const cwd = await folderOf("project", {
    "package.json": JSON.stringify({ type: "module" }),
    "draw.js": drawingProgram("tome-edge"),
    "server.js": SERVER,
  });
  await run([...await bun(), "add", await packed()], { cwd });
  return cwd;
});

export function testPackage(): void {
  /** Where npm, Node or the registry is missing, the test says so. */
  const packageTest = (name: string, body: () => Promise<void>) =>
    test(name, async () => {
      try {
        await body();
      } catch (error) {
        const { code, message } = error as Error & { code?: unknown };
        if (
          code !== "ENOENT" && !/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ConnectionRefused/.test(message)
        ) throw error;
        missing(`the npm package: ${message.split("\n")[0]}`);
      }
    });

  packageTest(
    "the package holds what it needs and nothing else, and its entries and types are found",
    async () => {
      const path = await packed();
      const cwd = dirname(path);
      await Promise.all([
        run(["npx", "-y", PUBLINT, "run", path, "--strict"], { cwd }),
        // It is ESM only: what `require` would find is not asked.
        run(["npx", "-y", ATTW, path, "--profile", "esm-only"], { cwd }),
      ]);
    },
  );

  packageTest("a Bun program draws with the package", async () => {
    const cwd = await project();
    await assertDrawn(answerOf(await run([...await bun(), "draw.js"], { cwd })), "2 threads");
    assert.equal(await run([...await bun(), "server.js"], { cwd }), SERVED);
  });

  packageTest("Node, from 20 on, draws with the package on threads", async () => {
    const cwd = await project();
    await assertDrawn(answerOf(await run(["node", "draw.js"], { cwd })), "2 threads");
    assert.equal(await run(["node", "server.js"], { cwd }), SERVED);
  });

  packageTest("so does a newer Node, which has the fast kernels too", async () => {
    const cwd = await project();
    const node = ["npx", "-y", NEWER_NODE];
    await assertDrawn(answerOf(await run([...node, "draw.js"], { cwd })), "2 threads");
    await folderOf("project", {
      "fast.js": drawingProgram("tome-edge", { threads: 2 }, { ...PICTURE, steps: 1 }),
    });
    assert.match(answerOf(await run([...node, "fast.js"], { cwd })).device, /^CPU, fast .*, 2 threads/);
  });

  packageTest("the package's command draws, started by Node and by Bun", async () => {
    const cwd = await project();
    for (const [i, runtime] of [["node"], await bun()].entries()) {
      const args = `generate apple --steps 1 --size 64x64 --out ${i}.png --quiet`.split(" ");
      await run([...runtime, "node_modules/tome-edge/bin/tome-edge.js", ...args], { cwd });
      assert.equal(decodePng(await readFile(join(cwd, `${i}.png`))).width, 64);
    }
  });
}

async function bun(): Promise<string[]> {
  return await run(["bun", "--version"], { cwd: "." }).then(() => ["bun"], () => ["npx", "-y", "bun@1"]);
}
