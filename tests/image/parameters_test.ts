import { test } from "node:test";
import assert from "node:assert/strict";
import { formatParameters, type GenerationParameters, parseParameters } from "../../src/image/parameters.ts";

const full: GenerationParameters = {
  prompt: 'a "cat", Steps: 3,\n (very: 1.2) 🐈',
  negativePrompt: "dogs,\nbirds: all",
  steps: 20,
  sampler: "dpm++_2m_karras",
  guidanceScale: 7.5,
  seed: 2 ** 53 - 1,
  width: 96,
  height: 128,
  model: 'odd, "name": x',
  strength: 0.75,
  noise: "philox",
  tokenMerging: {
    ratio: 0.5,
    maxDownsample: 2,
    sx: 4,
    sy: 3,
    useRand: false,
    mergeAttn: false,
    mergeCrossAttn: true,
    mergeMlp: true,
    randomness: "tomesd",
  },
};

test("the line is AUTOMATIC1111's", () => {
  const tokenMerging = { ratio: 0.5, maxDownsample: 1, sx: 2, sy: 2, useRand: true, mergeAttn: true };
  assert.equal(
    formatParameters({
      prompt: "an apple",
      negativePrompt: "",
      steps: 20,
      sampler: "ddim",
      guidanceScale: 4,
      seed: 1,
      width: 96,
      height: 96,
      model: "emoji",
      tokenMerging,
      version: "0.1.0",
    }),
    "an apple\nSteps: 20, Sampler: DDIM, CFG scale: 4, Seed: 1, Size: 96x96, Model: emoji, " +
      "Token merging ratio: 0.5, Version: tome-edge 0.1.0",
  );
  assert.equal(
    formatParameters({ prompt: "a", negativePrompt: "b", steps: 1, tokenMerging: null, model: "x: y, z" }),
    'a\nNegative prompt: b\nSteps: 1, Model: "x: y, z"',
  );
});

test("what is written is read back, with every option", () => {
  const { fields, ...parsed } = parseParameters(formatParameters({ ...full, image: {}, version: "1" }));
  assert.deepEqual(parsed, full);
  assert.equal(fields.get("Version"), "tome-edge 1");
  assert.equal(fields.get("Sampler"), "DPM++ 2M Karras");
});

test("every option changed changes what is read", () => {
  const base = parseParameters(formatParameters({ ...full, image: {} }));
  const changes: Partial<GenerationParameters>[] = [
    { prompt: "x" },
    { negativePrompt: "" },
    { steps: 21 },
    { sampler: "lcm" },
    { guidanceScale: 1 },
    { seed: 0 },
    { width: 8 },
    { height: 8 },
    { model: "y" },
    { strength: 1 },
    { noise: "cpu" },
    { tokenMerging: null },
    ...Object.entries({
      ratio: 0.25,
      maxDownsample: 1,
      sx: 2,
      sy: 2,
      useRand: true,
      mergeAttn: true,
      mergeCrossAttn: false,
      mergeMlp: false,
      randomness: "image",
    })
      .map(([key, value]) => ({ tokenMerging: { ...full.tokenMerging, [key]: value } })),
  ];
  for (const change of changes) {
    const changed = parseParameters(formatParameters({ ...full, image: {}, ...change }));
    assert.notDeepEqual(changed, base, JSON.stringify(change));
  }
});

test("every sampler comes back", () => {
  for (const sampler of ["ddim", "pndm", "euler", "euler_a", "dpm++_2m", "dpm++_2m_karras", "lcm"]) {
    const text = formatParameters({ prompt: "a", steps: 1, sampler, seed: 1 });
    assert.equal(parseParameters(text).sampler, sampler);
  }
});

test("texts of AUTOMATIC1111 itself are read", () => {
  const parsed = parseParameters(
    "masterpiece, (cat:1.2)\nsecond line\nNegative prompt: lowres, bad\nmore bad\n" +
      "Steps: 28, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 965400086, Size: 512x768, " +
      'Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, Token merging ratio: 0.4, Lora hashes: "a: 1, b: 2", ' +
      "Denoising strength: 0.7, RNG: CPU, Version: v1.9.4",
  );
  const { fields, ...rest } = parsed;
  assert.deepEqual(rest, {
    prompt: "masterpiece, (cat:1.2)\nsecond line",
    negativePrompt: "lowres, bad\nmore bad",
    steps: 28,
    sampler: "dpm++_2m_karras",
    guidanceScale: 7,
    seed: 965400086,
    width: 512,
    height: 768,
    model: "v1-5-pruned-emaonly",
    strength: 0.7,
    noise: "cpu",
    tokenMerging: { ratio: 0.4 },
  });
  assert.equal(fields.get("Lora hashes"), "a: 1, b: 2");
  assert.equal(fields.get("Model hash"), "6ce0161689");
});

test("a text without a line of fields is a prompt, and nonsense is left out", () => {
  for (const text of ["", "a cat", "a cat\nSteps: 20, Seed: 1", "a: b"]) {
    const parsed = parseParameters(text);
    assert.deepEqual([parsed.prompt, parsed.negativePrompt, parsed.fields.size], [text, "", 0]);
    assert.deepEqual(Object.keys(parsed), ["prompt", "negativePrompt", "fields"]);
  }
  const odd = parseParameters(
    'x\nSteps: many, Seed: , Size: 1x, CFG scale: Infinity, Sampler: New one, Model: "broken\\x"',
  );
  assert.deepEqual([odd.steps, odd.seed, odd.width, odd.guidanceScale], [
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
  assert.deepEqual([odd.sampler, odd.model], ["New one", '"broken\\x"']);
});

test("a long hostile text is read in linear time", () => {
  assert.equal(parseParameters("a ".repeat(200_000) + '"').fields.size, 0);
  assert.equal(parseParameters('x: "' + "\\".repeat(200_001)).fields.size, 0);
});
