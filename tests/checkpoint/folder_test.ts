import { test } from "node:test";
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openModelFolder } from "../../src/checkpoint/folder.ts";
import { openSafetensors } from "../../src/checkpoint/safetensors.ts";
import { fileSource, memoryFolder, memorySource } from "../../src/checkpoint/source.ts";
import { ClipTokenizer } from "../../src/tokenizer/clip_tokenizer.ts";
import { openWeights, WeightMap } from "../../src/checkpoint/weight_map.ts";

const EMOJI = fileURLToPath(new URL("../../models/emoji", import.meta.url));

/** A safetensors file of F32 tensors that hold 1, 2, 3, … */
function weights(shapes: Record<string, number[]>): Uint8Array {
  let at = 0;
  const header: Record<string, unknown> = {};
  for (const [name, shape] of Object.entries(shapes)) {
    const end = at + 4 * shape.reduce((a, b) => a * b, 1);
    header[name] = { dtype: "F32", shape, data_offsets: [at, end] };
    at = end;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + at);
  new DataView(bytes.buffer).setUint32(0, text.length, true);
  bytes.set(text, 8);
  const values = Float32Array.from({ length: at / 4 }, (_, i) => i + 1);
  bytes.set(new Uint8Array(values.buffer), 8 + text.length);
  return bytes;
}

async function mapOf(shapes: Record<string, number[]>): Promise<WeightMap> {
  return new WeightMap("x", [await openSafetensors(memorySource("x", weights(shapes)))]);
}

const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const folderOf = (files: Record<string, Uint8Array>) => memoryFolder("m", new Map(Object.entries(files)));

test("the embedded model opens: configurations, tokenizer files and the weights of each network", async () => {
  const model = await openModelFolder(EMOJI);
  assert.equal(model.index.scheduler, "DDIMScheduler");
  assert.equal(model.text.max_position_embeddings, model.tokenizer.maxLength);
  assert.equal((model.scheduler as { prediction_type: string }).prediction_type, "epsilon");
  for (
    const [component, name, shape] of [
      ["unet", "conv_in.weight", [model.unet.block_out_channels[0], 4, 3, 3]],
      ["vae", "decoder.mid_block.attentions.0.to_q.weight", [64, 64]],
      ["text_encoder", "text_model.final_layer_norm.weight", [model.text.hidden_size]],
    ] as const
  ) {
    const map = await model.weights(component);
    const tensor = await map.take(name, shape);
    assert.equal(tensor.data.length, shape.reduce((a, b) => a * b, 1) * (tensor.dtype === "F32" ? 4 : 2));
    assert.equal(map.unused().length, map.names().length - 1);
    await map.close();
  }
});

// Goldens: folders saved by diffusers and transformers themselves; see tests/goldens/README.md.
for (const name of ["sd15_small", "sd2_small", "odd_small", "lcm_small"]) {
  test(`a folder that diffusers saved opens, and its prompts get its ids: ${name}`, async () => {
    const path = fileURLToPath(new URL(`../goldens/${name}`, import.meta.url));
    const model = await openModelFolder(path);
    const { prompt, negative_prompt } = JSON.parse(await readFile(join(path, "golden.json"), "utf8"));
    const golden = await openSafetensors(await fileSource(join(path, "golden.safetensors")));
    const bytes = await golden.readBytes("text.input_ids");
    await golden.close();
    const expected = Array.from(new BigInt64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8), Number);
    const tokenizer = ClipTokenizer.fromFiles(model.tokenizer);
    assert.deepEqual([prompt, negative_prompt].flatMap((text) => [...tokenizer.encode(text)]), expected);
    for (const component of ["unet", "vae", "text_encoder"] as const) {
      const map = await model.weights(component);
      assert.ok(map.unused().length > 10);
      await map.close();
    }
  });
}

test("a folder that is not there, is a file, or lacks a part is named", async () => {
  const message = (text: RegExp) => ({ name: "CheckpointError", message: text });
  await assert.rejects(
    openModelFolder("no/such/model"),
    message(/^Cannot open model "no\/such\/model": .*nothing there$/),
  );
  await assert.rejects(openModelFolder(join(EMOJI, "README.md")), message(/README.md": .*found a file$/));
  await assert.rejects(
    openModelFolder(join(EMOJI, "unet")),
    message(/model_index.json, found no such file in it$/),
  );

  const copy = await mkdtemp(join(tmpdir(), "model-"));
  try {
    const parts = [
      "unet/config.json",
      "vae/config.json",
      "text_encoder/config.json",
      "scheduler/scheduler_config.json",
      "tokenizer/tokenizer_config.json",
      "tokenizer/vocab.json",
      "tokenizer/merges.txt",
    ];
    for (const file of ["model_index.json", ...parts]) await cp(join(EMOJI, file), join(copy, file));
    await openModelFolder(copy + "/");
    for (const part of parts) {
      const content = await readFile(join(copy, part));
      const named = new RegExp(`${part.replace(/[/.]/g, "\\$&")}`);
      await rm(join(copy, part));
      await assert.rejects(openModelFolder(copy), message(named), part);
      if (part.endsWith(".json")) {
        await writeFile(join(copy, part), "{");
        await assert.rejects(openModelFolder(copy), message(/expected JSON, found/), part);
      }
      await writeFile(join(copy, part), Uint8Array.of(0x22, 0xff, 0x22));
      await assert.rejects(openModelFolder(copy), message(/expected UTF-8 text, found other bytes/), part);
      await writeFile(join(copy, part), content);
    }
    // As Python's json writes it, which every DPM++ configuration that diffusers saves has.
    await writeFile(
      join(copy, "scheduler/scheduler_config.json"),
      '{"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity}',
    );
    assert.deepEqual((await openModelFolder(copy)).scheduler, {
      _class_name: "DPMSolverMultistepScheduler",
      lambda_min_clipped: -Infinity,
    });
    for (const component of ["unet", "vae", "text_encoder"] as const) {
      const model = await openModelFolder(copy);
      await assert.rejects(model.weights(component), message(/expected .*safetensors, found neither/));
    }
  } finally {
    await rm(copy, { recursive: true });
  }
});

test("take checks name and shape, unused lists what nothing took", async () => {
  const map = await mapOf({
    "a.weight": [2, 3],
    "a.bias": [2],
    "text_model.embeddings.position_ids": [1, 4],
  });
  const tensor = await map.take("a.weight", [2, 3]);
  assert.deepEqual([...new Float32Array(tensor.data.buffer, tensor.data.byteOffset, 6)], [1, 2, 3, 4, 5, 6]);
  await assert.rejects(map.take("a.weight", [3, 2]), {
    name: "CheckpointError",
    message: 'Cannot load "a.weight": expected [3, 2], found [2, 3]',
  });
  await assert.rejects(map.take("a.weight", [6]), /expected \[6\], found \[2, 3\]/);
  await assert.rejects(map.take("b.weight", [2]), {
    name: "CheckpointError",
    message: 'Cannot load "b.weight": expected a tensor [2], found none in "x"',
  });
  assert.deepEqual(map.unused(), ["a.bias"]);
  assert.throws(() => map.assertAllUsed(), /Cannot load "x": expected only tensors .*, found "a.bias"$/);
  await map.take("a.bias", [2]);
  map.assertAllUsed();
});

test("the autoencoder's attention is found under its old names, and as a convolution", async () => {
  const at = "decoder.mid_block.attentions.0";
  const old = await mapOf({
    [`${at}.query.weight`]: [4, 4],
    [`${at}.key.weight`]: [4, 4, 1, 1],
    [`${at}.value.bias`]: [4],
    [`${at}.proj_attn.weight`]: [4, 4],
    "quant_conv.weight": [4, 4, 1, 1],
  });
  assert.equal((await old.take(`${at}.to_q.weight`, [4, 4])).name, `${at}.to_q.weight`);
  assert.deepEqual((await old.take(`${at}.to_k.weight`, [4, 4])).shape, [4, 4]);
  await old.take(`${at}.to_v.bias`, [4]);
  await old.take(`${at}.to_out.0.weight`, [4, 4]);
  assert.deepEqual(old.unused(), ["quant_conv.weight"]);
  await assert.rejects(old.take("quant_conv.weight", [4, 4]), /expected \[4, 4\], found \[4, 4, 1, 1\]/);
  await assert.rejects(old.take(`${at}.to_k.weight`, [2, 8]), /expected \[2, 8\], found \[4, 4, 1, 1\]/);
});

test("the text encoder's tensors are found with and without the prefix text_model", async () => {
  for (const stored of ["text_model.final_layer_norm.weight", "final_layer_norm.weight"]) {
    for (const asked of ["text_model.final_layer_norm.weight", "final_layer_norm.weight"]) {
      const map = await mapOf({ [stored]: [4] });
      assert.equal((await map.take(asked, [4])).name, asked);
      assert.deepEqual(map.unused(), []);
    }
  }
});

test("weights lie in one file, in shards with an index, or in a variant", async () => {
  const a = weights({ a: [1] }), b = weights({ b: [2] });
  const shards = (index: string) => ({
    [`unet/${index}`]: json({
      metadata: {},
      weight_map: { a: "x-1-of-2.safetensors", b: "x-2-of-2.safetensors" },
    }),
    "unet/x-1-of-2.safetensors": a,
    "unet/x-2-of-2.safetensors": b,
  });
  const names = async (files: Record<string, Uint8Array>, variant?: string) =>
    (await openWeights(folderOf(files), "unet", { variant })).names();
  const stem = "diffusion_pytorch_model";
  const plain = { [`unet/${stem}.safetensors`]: a };
  const half = { [`unet/${stem}.fp16.safetensors`]: b };
  assert.deepEqual(await names({ ...plain, ...half }), ["a"]);
  assert.deepEqual(await names({ ...plain, ...half }, "fp16"), ["b"]);
  assert.deepEqual(await names(half), ["b"]);
  assert.deepEqual(await names(shards(`${stem}.safetensors.index.json`)), ["a", "b"]);
  assert.deepEqual(await names(shards(`${stem}.safetensors.index.fp16.json`), "fp16"), ["a", "b"]);
  assert.deepEqual(await names(shards(`${stem}.fp16.safetensors.index.json`)), ["a", "b"]);
  await assert.rejects(
    names(plain, "bf16"),
    /expected diffusion_pytorch_model.bf16.safetensors, found neither/,
  );
  await assert.rejects(
    names({ [`unet/${stem}.bin`]: a }),
    /found only diffusion_pytorch_model.bin, which is not read/,
  );
});

test("a hostile index leads nowhere", async () => {
  const index = "unet/diffusion_pytorch_model.safetensors.index.json";
  const open = (value: unknown) =>
    openWeights(
      folderOf({
        [index]: json(value),
        "unet/x.safetensors": weights({ a: [1] }),
        "unet/y.safetensors": weights({ a: [1] }),
      }),
      "unet",
    );
  const refused = (value: unknown, message: RegExp) =>
    assert.rejects(open(value), { name: "CheckpointError", message });
  for (const value of [null, 3, [], {}, { weight_map: null }, { weight_map: [] }, { weight_map: {} }]) {
    await refused(value, /expected a weight_map/);
  }
  for (
    const file of [
      "../x.safetensors",
      "/x.safetensors",
      "..\\x.safetensors",
      ".x.safetensors",
      "x.bin",
      "",
      3,
      null,
    ]
  ) {
    await refused({ weight_map: { a: file } }, /expected a \.safetensors file name for "a", found/);
  }
  await refused(
    { weight_map: { a: "z.safetensors" } },
    /z\.safetensors": expected a file, found nothing there/,
  );
  await refused({ weight_map: { b: "x.safetensors" } }, /expected "b" in "x\.safetensors", found none/);
  await refused(
    { weight_map: { a: "x.safetensors", c: "y.safetensors" } },
    /"a": expected it once, found it also in/,
  );
});
