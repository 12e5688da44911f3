import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import process from "node:process";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { decodePng, encodePng } from "../../src/image/png.ts";
import { psnr } from "../../src/image/metrics.ts";
import { call, inFolder, type Outcome, start } from "./cli.ts";

/** Random weights of Stable Diffusion 1.5's shape in small: quick, and no retraining changes them. */
const SMALL = fileURLToPath(new URL("../goldens/sd15_small", import.meta.url));
const CAT = ["generate", "a cat"];
const QUICK = ["--steps", "2", "--seed", "1"];

/** One line that says all of `parts`, exit code 2. */
function assertRefused({ code, out, err }: Outcome, args: readonly string[], parts: readonly string[]): void {
  const what = `${args.join(" ")}\n→ ${code}: ${err}${out}`;
  assert.equal(code, 2, what);
  assert.equal(out, "", what);
  assert.match(err, /^tome-edge: [^\n]+\n$/, what);
  for (const part of parts) assert.ok(err.includes(part), `"${part}" is missing: ${what}`);
}

test("wrong input ends with one line that names it, code 2 and the old file", () =>
  inFolder(async (path, untouched) => {
    await writeFile(path("text.txt"), "text");
    await writeFile(path("not.png"), "not a PNG");
    await writeFile(path("small.png"), encodePng(grey(16, 16)));
    await writeFile(path("odd.png"), encodePng(grey(98, 96)));
    await mkdir(path("folder.png"));
    const cases: [args: string[], ...parts: string[]][] = [
      [["generate"], "missing required argument 'prompt'"],
      [["generate", ""], "empty prompt"],
      [["generate", " \n "], "empty prompt"],
      [["generate", "a", "cat"], "too many arguments", "a, cat"],
      [[...CAT, "--colour", "red"], "unknown option '--colour'"],
      [[...CAT, "--out", path("old.png"), "--steps"], "'--steps <number>' argument missing"],
      ...["0", "5000", "-1"].map((
        v,
      ): [string[], ...string[]] => [[...CAT, "--steps", v], "--steps", "1 to 1000", v]),
      ...["1.5", "abc", "NaN", ""].map((
        v,
      ): [string[], ...string[]] => [[...CAT, "--steps", v], "--steps", "whole number", `'${v}'`]),
      [[...CAT, "--size", "98x96"], "--size", "width 98", "multiple of 4"],
      [[...CAT, "--size", "96x98"], "--size", "height 98", "multiple of 4"],
      [[...CAT, "--size", "0x0"], "--size", "width 0", "4 to 16384"],
      [[...CAT, "--size", "20000x96"], "--size", "width 20000", "16384"],
      ...["96", "abc", "-96x96", "9.5x96"].map((
        v,
      ): [string[], ...string[]] => [[...CAT, "--size", v], "--size", "96x128", v]),
      ...["0.8", "-1"].map((v): [string[], ...string[]] => [[...CAT, "--ratio", v], "--ratio", "0.75", v]),
      ...["NaN", "abc", "Infinity"].map((
        v,
      ): [string[], ...string[]] => [[...CAT, "--ratio", v], "--ratio", "a number", v]),
      [[...CAT, "--sx", "0"], "--sx", "at least 1", "0"],
      [[...CAT, "--max-downsample", "3"], "--max-downsample", "1, 2, 4 or 8", "3"],
      ...["NaN", "1.5", "1e30", "0x"].map((
        v,
      ): [string[], ...string[]] => [[...CAT, "--seed", v], "--seed", "whole number", v]),
      [[...CAT, "--seed", "-1"], "--seed", "0 to", "-1"],
      ...["NaN", "much"].map((v): [string[], ...string[]] => [[...CAT, "--cfg", v], "--cfg", "a number", v]),
      [[...CAT, "--cfg", "-3"], "--cfg", "0 to 100", "-3"],
      [[...CAT, "--sampler", "magic"], "--sampler", "ddim", "magic"],
      [[...CAT, "--device", "abacus"], "--device", "reference", "abacus"],
      [[...CAT, "--kernels", "slow"], "--kernels", "strict", "slow"],
      [[...CAT, "--noise", "white"], "--noise", "philox", "white"],
      ...["0", "-1", "1000"].map((
        v,
      ): [string[], ...string[]] => [[...CAT, "--threads", v], "--threads", "1 to 256", v]),
      [[...CAT, "--threads", "abc"], "--threads", "number", "abc"],
      ...["0", "65"].map((v): [string[], ...string[]] => [[...CAT, "--n", v], "--n", "1 to 64", v]),
      [[...CAT, "--compare"], "--compare", "--ratio above 0"],
      [[...CAT, "--mask", path("small.png")], "--mask", "without --image"],
      [[...CAT, "--strength", "0.5"], "--strength", "without --image"],
      [[...CAT, "--image", path("none.png")], "--image", "none.png", "no such file"],
      [[...CAT, "--image", path("not.png")], "--image", "not.png", "signature"],
      [[...CAT, "--image", path("folder.png")], "--image", "folder.png"],
      [[...CAT, "--image", path("small.png"), "--size", "96x96"], "--image", "16x16", "96x96"],
      [[...CAT, "--image", path("odd.png")], "--image", "odd.png", "width 98", "multiple of 4"],
      [[...CAT, "--image", path("small.png"), "--strength", "0"], "--strength 0", "above 0"],
      [[...CAT, "--image", path("small.png"), "--mask", path("odd.png")], "--mask", "98x96", "16x16"],
      [[...CAT, "--model", path("none")], "none", "model_index.json", "nothing there"],
      [[...CAT, "--model", path("text.txt")], "text.txt", "found a file"],
      [[...CAT, "--model", path("folder.png")], "folder.png", "model_index.json"],
      [[...CAT, "--out", path("none/x.png")], "x.png", "expected a folder"],
      [[...CAT, "--out", path("text.txt/x.png")], "x.png", "expected a folder"],
      [[...CAT, "--out", path("folder.png")], "folder.png", "found a folder"],
      [[...CAT, "--out", path("x.jpg")], "x.jpg", "ends in .png"],
    ];
    for (const [args, ...parts] of cases) {
      const all = args.includes("--out") ? args : [...args, "--out", path("old.png")];
      assertRefused(await call(...all), all, parts);
    }
    assert.ok(await untouched());
    const files = ["folder.png", "not.png", "odd.png", "old.png", "small.png", "text.txt"];
    assert.deepEqual((await readdir(path("."))).sort(), files, "no file was left behind");
  }));

test("a damaged model ends with one line that names the file or tensor", () =>
  inFolder(async (path, untouched) => {
    const damage: [name: string, file: string, edit: (file: string) => Promise<void>, ...parts: string[]][] =
      [
        ["index", "model_index.json", (f) => writeFile(f, "{"), "model_index.json", "JSON"],
        ["config", "unet/config.json", replaced('"silu"', '"relu9"'), "unet/config.json", "act_fn", "relu9"],
        [
          "unknown",
          "unet/config.json",
          replaced("{", '{ "warp_drive": true,'),
          "unet/config.json",
          "warp_drive",
        ],
        [
          "short",
          "unet/diffusion_pytorch_model.safetensors",
          (f) => truncate(f, 30_000),
          "diffusion_pytorch_model.safetensors",
          "expected",
          "found",
        ],
        [
          "shape",
          "vae/config.json",
          replaced('"latent_channels": 4', '"latent_channels": 8'),
          "expected",
          "found",
        ],
      ];
    for (const [name, file, edit, ...parts] of damage) {
      await cp(SMALL, path(name), { recursive: true });
      await edit(path(`${name}/${file}`));
      const args = [...CAT, ...QUICK, "--model", path(name), "--out", path("old.png")];
      assertRefused(await call(...args), args, parts);
    }
    assert.ok(await untouched());
  }));

test("what no memory can hold ends with one line", () =>
  inFolder(async (path, untouched) => {
    const args = [...CAT, ...QUICK, "--model", SMALL, "--size", "16384x16384", "--out", path("old.png")];
    assertRefused(await call(...args), args, ["Cannot allocate", "bytes"]);
    assert.ok(await untouched());
  }));

test("strict kernels draw the same bytes on every engine, and fast ones nearly the same picture", () =>
  inFolder(async (path) => {
    const draw = async (kernels: string) => {
      const out = path(`${kernels}.png`);
      const flags = ["--ratio", "0.5", "--kernels", kernels, "--model", SMALL, "--size", "96x64", "--quiet"];
      assert.deepEqual(await call(...CAT, "--steps", "3", "--seed", "7", ...flags, "--out", out), {
        code: 0,
        out: "",
        err: "",
      });
      return await readFile(out);
    };
    const strict = await draw("strict"), fast = await draw("fast");
    // Found on Deno (V8) and Bun (JavaScriptCore) alike. A kernel that sums in another order changes it: then run
    // this on both, and put the new value here if they agree.
    assert.equal(
      createHash("sha256").update(strict).digest("hex"),
      "47ff68f62de8f27e9be7db71071dda34a1ff8ee09b9d741fe4c2243d649e8991",
    );
    const a = decodePng(strict), b = decodePng(fast);
    const most = a.data.reduce((m, v, i) => Math.max(m, Math.abs(v - b.data[i])), 0);
    assert.ok(most <= 1, `expected pixels within 1/255, found ${most}/255`);
    assert.ok(psnr(a, b) > 60, `expected more than 60 dB, found ${psnr(a, b)}`);
  }));

test("plain lines, the result, notes and parameters", () =>
  inFolder(async (path) => {
    const long = "a very long story of a cat ".repeat(20) + "the end";
    const flags = [
      "--model",
      SMALL,
      "--sampler",
      "ddim",
      "--size",
      "32x32",
      "--steps",
      "20",
      "--seed",
      "5",
      "--out",
      path("a.png"),
    ];
    const { code, out, err } = await call("generate", long, ...flags);
    assert.equal(code, 0, err);
    const lines = err.trimEnd().split("\n");
    assert.equal(lines.length, 10, "a line for every tenth");
    for (const line of lines) assert.match(line, /^step \d+\/20, \d+\.\d+ s a step, \d+\.\d s left$/);
    assert.match(lines[9], /^step 20\/20.* 0\.0 s left$/);
    assert.match(out, /^note: the prompt .* tokens too long; left out: .* the end$/m);
    assert.match(out, /a\.png {2}32x32, seed 5\n[\d.]+ s: \d+ network calls of .* on CPU, /);
    assert.deepEqual(size(decodePng(await readFile(path("a.png")))), { width: 32, height: 32 });
  }));

test("weights that are no numbers draw a picture with a note", () =>
  inFolder(async (path) => {
    await cp(SMALL, path("nan"), { recursive: true });
    const file = path("nan/unet/diffusion_pytorch_model.safetensors");
    const bytes = await readFile(file);
    await writeFile(file, bytes.fill(255, bytes.length - 4)); // NaN in f32 and in f16
    const { code, out } = await call(...CAT, ...QUICK, "--model", path("nan"), "--out", path("a.png"));
    assert.equal(code, 0);
    assert.match(out, /^note: a picture is black in places: (\d+) of \1 values are no numbers$/m);
  }));

test("--json prints one object and --quiet nothing; a picture gives the size to draw", () =>
  inFolder(async (path) => {
    await writeFile(path("from.png"), encodePng(grey(48, 32)));
    const flags = ["--model", SMALL, ...QUICK, "--image", path("from.png"), "--strength", "0.5", "--n", "2"];
    const { code, out, err } = await call(...CAT, ...flags, "--json", "--out", path("b.png"));
    assert.deepEqual({ code, err }, { code: 0, err: "" });
    const result = JSON.parse(out);
    assert.deepEqual(result.images, [
      { file: path("b-1.png"), width: 48, height: 32 },
      { file: path("b-2.png"), width: 48, height: 32 },
    ]);
    assert.equal(result.stats.seed, 1);
    assert.ok(result.loadSeconds > 0 && result.stats.multiplyAdds > 0);
    assert.deepEqual(size(decodePng(await readFile(path("b-2.png")))), { width: 48, height: 32 });
    assert.deepEqual(await call(...CAT, ...flags, "--quiet", "--out", path("c.png")), {
      code: 0,
      out: "",
      err: "",
    });
  }));

test("--compare tells speed-up, ceiling and likeness", () =>
  inFolder(async (path) => {
    const flags = ["--model", SMALL, ...QUICK, "--size", "64x64", "--ratio", "0.5", "--out", path("d.png")];
    const { code, out } = await call(...CAT, ...flags, "--compare");
    assert.equal(code, 0);
    assert.match(out, /merged in \d+ of \d+ transformer blocks, 64 → 32 tokens; .* at most 1\.\d\dx faster/);
    assert.match(
      out,
      /against no merging: \d+\.\d\dx of at most 1\.\d\dx; likeness [\d.]+ dB PSNR, [\d.]+ SSIM/,
    );
  }));

test("help teaches, and credits the art", async () => {
  for (const args of [["--help"], ["generate", "--help"], ["help"]]) {
    const { code, out, err } = await call(...args);
    assert.deepEqual({ code, err }, { code: 0, err: "" }, args.join(" "));
    for (const name of ["Fluent Emoji", "Noto Emoji", "Twemoji", "CC-BY 4.0"]) {
      assert.ok(out.includes(name), name);
    }
  }
  const { out } = await call("generate", "--help");
  const flags =
    "out seed steps size cfg negative sampler ratio sx sy max-downsample merge-cross merge-mlp no-rand " +
    "device threads kernels model n quiet json image mask strength noise compare";
  for (const flag of flags.split(" ")) assert.match(out, new RegExp(`--${flag}\\b`));
  assert.match(out, /tome-edge generate ".*" .*--ratio 0\.5/);
});

test("a process: its exit code, its one line, its result", () =>
  inFolder(async (path, untouched) => {
    const wrong = ["generate", "a cat", "--steps", "abc", "--out", path("old.png")];
    assertRefused(await start(wrong).ended, wrong, ["--steps", "abc"]);
    assert.ok(await untouched());
    const { code, out, err } = await start([...CAT, ...QUICK, "--model", SMALL, "--out", path("e.png")])
      .ended;
    assert.equal(code, 0, err);
    assert.match(out, /e\.png {2}\d+x\d+, seed 1\n/);
  }));

test("Ctrl-C ends with 130 and no file", () =>
  inFolder(async (path) => {
    const { child, ended } = start([
      ...CAT,
      "--steps",
      "900",
      "--size",
      "128x128",
      "--model",
      SMALL,
      "--out",
      path("f.png"),
    ]);
    // At the first tenth of the steps. Not child.kill(), after which Deno reports the signal and no exit code.
    child.stderr.once("data", () => process.kill(child.pid!, "SIGINT"));
    const { code, err } = await ended;
    assert.equal(code, 130, err);
    assert.match(err, /^step 91\/901,.*\nStopped; nothing was written\.\n$/);
    assert.deepEqual(await readdir(path(".")), ["old.png"]);
  }));

test("a reader that leaves early is no error", () =>
  inFolder(async (path) => {
    const { child, ended } = start([...CAT, ...QUICK, "--model", SMALL, "--json", "--out", path("g.png")]);
    child.stdout.destroy();
    assert.deepEqual(await ended, { code: 0, out: "", err: "" });
    assert.ok((await readdir(path("."))).includes("g.png"));
  }));

function grey(width: number, height: number) {
  return { width, height, data: new Uint8ClampedArray(width * height * 4).fill(128) };
}

function size({ width, height }: { width: number; height: number }) {
  return { width, height };
}

function replaced(from: string, to: string): (file: string) => Promise<void> {
  return async (file) => {
    const text = await readFile(file, "utf8");
    assert.ok(text.includes(from), `${file} has no ${from}`);
    await writeFile(file, text.replace(from, to));
  };
}
