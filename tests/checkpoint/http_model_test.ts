import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { type GenerateOptions, type LoadOptions, loadPipeline, type LoadProgress } from "../../src/mod.ts";
import { AbortError, CheckpointError } from "../../src/errors.ts";
import { call } from "../cli/cli.ts";
import { type Manners, serveFiles, type TestServer } from "./http_server.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const SMALL = "tests/goldens/sd15_small/";
const EMOJI = "models/emoji/";
const CAT: GenerateOptions = { prompt: "a cat", seed: 1, steps: 2, width: 64, height: 64 };

async function withServer(manners: Manners, body: (server: TestServer) => Promise<void>): Promise<void> {
  const server = await serveFiles(ROOT, manners);
  try {
    await body(server);
  } finally {
    await server.close();
  }
}

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "tome-edge-http-"));
  try {
    await body(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function draw(model: string | URL, options: LoadOptions = {}) {
  const pipe = await loadPipeline(model, { device: "cpu", worker: false, cache: false, ...options });
  const { images } = await pipe.generate(CAT);
  const { info } = pipe;
  await pipe.dispose();
  return { data: [...images[0].data].join(), info };
}

test("a model from a URL draws what its folder draws, in a worker and here, with ranges and without", () =>
  withServer({}, async ({ url, seen }) => {
    const expected = await draw(join(ROOT, SMALL));
    for (const worker of [false, true]) {
      const before = seen.length;
      const progress: LoadProgress[] = [];
      const found = await draw(new URL(SMALL, url), { worker, onProgress: (p) => progress.push(p) });
      assert.deepEqual(found, expected);
      assert.equal(found.info.name, "sd15_small");
      const ends = new Map(progress.map((p) => [p.file, p]));
      const unet = await readFile(join(ROOT, SMALL, "unet/diffusion_pytorch_model.safetensors"));
      assert.deepEqual(ends.get("unet/diffusion_pytorch_model.safetensors"), {
        file: "unet/diffusion_pytorch_model.safetensors",
        loaded: unet.length,
        total: unet.length,
      });
      // One for each of ten small files and three of weights, and what is not there.
      assert.ok(seen.length - before <= 16, JSON.stringify(seen.slice(before).map((s) => s.path)));
    }
    await withServer({ noRanges: true, noLength: true }, async ({ url }) => {
      assert.deepEqual(await draw(url + SMALL), expected);
    });
  }));

test("the embedded model over HTTP: a request for each file and 8 MiB of weights, and one each the next time", () =>
  withServer({}, ({ url, seen }) =>
    inFolder(async (cacheDir) => {
      const load = async () => {
        seen.length = 0;
        const pipe = await loadPipeline(url + EMOJI, { device: "cpu", threads: 1, worker: false, cacheDir });
        assert.equal(pipe.info.notes, undefined);
        assert.match(pipe.info.attribution!, /Fluent/);
        await pipe.dispose();
      };
      await load();
      assert.equal(seen.length, 17, JSON.stringify(seen));
      assert.ok(seen.every((s) => s.method === "GET"));
      await load();
      assert.equal(seen.length, 14, JSON.stringify(seen));
      assert.deepEqual(seen.filter((s) => s.method === "GET").map((s) => s.path), [
        `${EMOJI}tokenizer/tokenizer.json`,
      ]);
    })));

test("a signal stops loading, in a worker and here", async () => {
  for (const worker of [false, true]) {
    await withServer({ hang: (n) => n > 0 }, async ({ url, seen }) => {
      const controller = new AbortController();
      const loading = loadPipeline(url + SMALL, {
        device: "cpu",
        worker,
        cache: false,
        signal: controller.signal,
      });
      while (seen.length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
      controller.abort();
      await assert.rejects(loading, AbortError);
    });
    const aborted = loadPipeline(join(ROOT, SMALL), { device: "cpu", worker, signal: AbortSignal.abort() });
    await assert.rejects(aborted, AbortError);
  }
});

test("a URL without a model is named with what the server said", () =>
  withServer({}, async ({ url }) => {
    await assert.rejects(draw(`${url}none/`), {
      name: "CheckpointError",
      message: `Cannot open model "${url}none": expected a diffusers folder with model_index.json, ` +
        `found HTTP status 404`,
    });
    await assert.rejects(draw("ftp://host/model/"), /expected http, https, hf, file or a path, found ftp/);
    await assert.rejects(draw("hf://name"), /expected hf:\/\/owner\/name/);
  }));

test("a hub gives a model by its name: the revision asked for, half precision first, a token for it alone", () =>
  inFolder(async (folder) => {
    const old = { ...process.env };
    const hub = "owner/small-sd/resolve/";
    const storage = await serveFiles(ROOT);
    // As the hub does: large files lie elsewhere, and there are weights in half precision.
    const server = await serveFiles(new Map(), {
      redirect: (path) => {
        const file = path.replace(/^.*\/resolve\/(main|refs\/pr\/1)\//, "");
        return storage.url + SMALL + (/^(?!unet).*fp16/.test(file) ? "none" : file.replace(".fp16", ""));
      },
    });
    try {
      process.env.HF_ENDPOINT = server.url;
      process.env.HF_TOKEN = "hf_secret";
      const expected = await draw(join(ROOT, SMALL));
      const found = await draw("hf://owner/small-sd@refs/pr/1");
      assert.equal(found.data, expected.data);
      assert.equal(found.info.name, "small-sd");
      assert.ok(server.seen.every((s) => s.path.startsWith(`${hub}refs/pr/1/`)), server.seen[0].path);
      assert.ok(server.seen.every((s) => s.authorization === "Bearer hf_secret"));
      assert.ok(storage.seen.every((s) => s.authorization === undefined));
      assert.ok(server.seen.some((s) => s.path.endsWith("unet/diffusion_pytorch_model.fp16.safetensors")));
      assert.ok(!server.seen.some((s) => s.path.endsWith("unet/diffusion_pytorch_model.safetensors")));

      server.seen.length = 0;
      assert.equal((await draw("owner/small-sd")).data, expected.data);
      assert.ok(server.seen.every((s) => s.path.startsWith(`${hub}main/`)));
      // What is or may be a local folder asks nobody.
      server.seen.length = 0;
      for (
        const local of ["models/none", "./owner/small-sd", join(folder, "owner"), "owner", "owner/small/sd"]
      ) {
        await assert.rejects(draw(local), CheckpointError);
      }
      assert.equal(server.seen.length, 0);
    } finally {
      for (const name of ["HF_ENDPOINT", "HF_TOKEN"]) {
        if (old[name] === undefined) delete process.env[name];
        else process.env[name] = old[name];
      }
      await server.close();
      await storage.close();
    }
  }));

test("generate --model takes a URL, says how far it is, and caches where XDG_CACHE_HOME says", () =>
  withServer({}, ({ url, seen }) =>
    inFolder(async (folder) => {
      const old = process.env.XDG_CACHE_HOME;
      process.env.XDG_CACHE_HOME = folder;
      try {
        const args = [
          "generate",
          "a cat",
          "--device",
          "cpu",
          "--steps",
          "1",
          "--seed",
          "1",
          "--size",
          "32x32",
          "--model",
          url + EMOJI,
        ];
        const out = join(folder, "a.png");
        const { code, err } = await call(...args, "--out", out, "--no-cache");
        assert.equal(code, 0, err);
        assert.match(err, /^unet\/diffusion_pytorch_model.safetensors: 50% of 25.5 MB$/m);
        assert.match(err, /^unet\/diffusion_pytorch_model.safetensors: 100% of 25.5 MB$/m);
        assert.ok(!(await readdir(folder)).includes("tome-edge"));
        assert.equal((await call(...args, "--out", out, "--quiet")).code, 0);
        assert.ok((await readdir(join(folder, "tome-edge"))).length >= 13);
        seen.length = 0;
        assert.equal((await call(...args, "--out", out, "--quiet")).code, 0);
        assert.ok(!seen.some((s) => s.method === "GET" && s.path.endsWith(".safetensors")));
        const missing = await call("generate", "a cat", "--model", `${url}none`, "--out", out);
        assert.equal(missing.code, 2);
        assert.match(missing.err, /^tome-edge: Cannot open model ".*": .* found HTTP status 404\n$/);
      } finally {
        if (old === undefined) delete process.env.XDG_CACHE_HOME;
        else process.env.XDG_CACHE_HOME = old;
      }
    })));
