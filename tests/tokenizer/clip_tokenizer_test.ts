import { test } from "node:test";
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { ClipTokenizer, type ClipTokenizerFiles } from "../../src/tokenizer/clip_tokenizer.ts";

async function text(path: string): Promise<string> {
  return await readFile(new URL(`../../${path}`, import.meta.url), "utf8");
}
const json = async (path: string) => JSON.parse(await text(path));

async function emoji(): Promise<ClipTokenizer> {
  const folder = "models/emoji/tokenizer";
  return ClipTokenizer.fromFiles({
    vocab: await json(`${folder}/vocab.json`),
    merges: await text(`${folder}/merges.txt`),
    config: await json(`${folder}/tokenizer_config.json`),
    specialTokensMap: await json(`${folder}/special_tokens_map.json`),
  });
}

interface Case {
  prompt: string;
  ids: number[];
  /** The whole prompt, where it is longer than the model's length. */
  full?: number[];
}

// Goldens: transformers' fast CLIPTokenizer; make them again with tests/goldens/make_tokenizer.py.
test("the ids of every golden prompt are those of transformers", async () => {
  const tokenizer = await emoji();
  const cases: Case[] = [
    ...(await json("tests/goldens/tokenizer.json")).cases,
    ...(await json("models/emoji/golden/golden.json")).tokenizer,
  ];
  assert.ok(cases.length > 60);
  for (const { prompt, ids, full } of cases) {
    const encoding = tokenizer.encodeAll(prompt);
    assert.deepEqual([...encoding.ids], ids, JSON.stringify(prompt));
    if (full !== undefined) {
      assert.deepEqual(encoding.tokens.map((token) => token.id), full.slice(1, -1), JSON.stringify(prompt));
      assert.equal(encoding.cut, full.length - tokenizer.maxLength);
    }
  }
});

test("what is cut off is counted and named", async () => {
  const tokenizer = await emoji();
  const fits = tokenizer.encodeAll("apple ".repeat(tokenizer.maxLength - 2));
  assert.deepEqual([fits.cut, fits.cutText, fits.tokens.length], [0, "", tokenizer.maxLength - 2]);
  const long = tokenizer.encodeAll("apple ".repeat(tokenizer.maxLength - 2) + "Café 🍎");
  assert.equal(long.cutText, "café 🍎");
  assert.equal(long.cut, long.tokens.length - tokenizer.maxLength + 2);
  assert.equal(long.ids[tokenizer.maxLength - 1], tokenizer.eosId);
  assert.deepEqual(long.ids, fits.ids);
});

test("a word of 50000 letters and halves of characters are tokens like others", async () => {
  const tokenizer = await emoji();
  assert.ok(tokenizer.encodeAll("x".repeat(50_000)).cut > 0);
  assert.deepEqual(tokenizer.encode("a \ud83c b"), tokenizer.encode("a \ufffd b"));
});

/** All bytes, all bytes at the end of a word, two merges, then begin and end. */
function small(): { names: string[]; vocab: Record<string, number>; merges: string } {
  const bytes: string[] = [];
  for (let b = 33; b < 127; b++) bytes.push(String.fromCharCode(b));
  for (let b = 161; b < 256; b++) if (b !== 173) bytes.push(String.fromCharCode(b));
  for (let b = 256; b < 324; b++) bytes.push(String.fromCharCode(b));
  const names = [
    ...bytes,
    ...bytes.map((b) => b + "</w>"),
    "hi</w>",
    "ab",
    "<|startoftext|>",
    "<|endoftext|>",
  ];
  return {
    names,
    vocab: Object.fromEntries(names.map((name, id) => [name, id])),
    merges: "#version: 0.2\nh i</w>\na b\n",
  };
}
const { names, vocab, merges } = small();
const make = (files: ClipTokenizerFiles) =>
  ClipTokenizer.fromFiles({ vocab, merges, maxLength: 12, ...files });
const BOS = vocab["<|startoftext|>"], EOS = vocab["<|endoftext|>"];
const tokens = (files: ClipTokenizerFiles, prompt: string) =>
  make(files).encodeAll(prompt).tokens.map(({ id, text }) => {
    assert.equal(names[id], text);
    return text;
  });
const token = (content: string, normalized: boolean) => ({
  content,
  normalized,
  lstrip: false,
  rstrip: false,
  single_word: false,
});

test("Stable Diffusion 2's padding is id 0, and its text a special token", () => {
  const config = {
    pad_token: "!",
    bos_token: token("<|startoftext|>", true),
    eos_token: token("<|endoftext|>", true),
  };
  const tokenizer = make({ config });
  assert.deepEqual([...tokenizer.encode("hi")], [BOS, vocab["hi</w>"], EOS, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  assert.deepEqual(tokens({ config }, "hi!!"), ["hi</w>", "!", "!"]);
  assert.deepEqual(tokens({}, "hi!!"), ["hi</w>", "!", "!</w>"]);
});

// As measured with transformers 5, for each way in which folders state their special tokens.
test("special tokens are found before or after lower case, as their flags say", () => {
  const upper = "<|STARTOFTEXT|><|ENDOFTEXT|>";
  const found = (files: ClipTokenizerFiles) => {
    const all = tokens(files, upper);
    return [all.includes("<|startoftext|>"), all.includes("<|endoftext|>")];
  };
  const objects = { bos_token: token("<|startoftext|>", true), eos_token: token("<|endoftext|>", true) };
  const unk = { unk_token: token("<|endoftext|>", true) };
  const decoder = (bos: boolean, eos: boolean) => ({
    added_tokens_decoder: { [BOS]: token("<|startoftext|>", bos), [EOS]: token("<|endoftext|>", eos) },
  });
  assert.deepEqual(found({}), [false, false]);
  assert.deepEqual(found({ config: { ...objects, ...unk, pad_token: "<|endoftext|>" } }), [true, false]);
  assert.deepEqual(found({ config: { ...objects, ...unk } }), [true, false]);
  assert.deepEqual(found({ config: { ...objects, ...unk, pad_token: "!" } }), [true, true]);
  assert.deepEqual(found({ config: { ...objects, ...unk }, specialTokensMap: { pad_token: "!" } }), [
    true,
    true,
  ]);
  assert.deepEqual(found({ config: decoder(true, true) }), [true, true]);
  assert.deepEqual(found({ config: decoder(false, true) }), [false, true]);
  assert.deepEqual(found({ config: decoder(true, false) }), [true, false]);
});

test("tokenizer.json alone gives the same ids, with merges as texts or as pairs", () => {
  const lines = merges.trim().split("\n").slice(1);
  for (const list of [lines, lines.map((line) => line.split(" "))]) {
    const tokenizerJson = {
      model: { type: "BPE", vocab, merges: list },
      added_tokens: [token("<|endoftext|>", false)],
    };
    const alone = ClipTokenizer.fromFiles({ tokenizerJson, config: { model_max_length: 12 } });
    for (const prompt of ["hi ab <|endoftext|> c", ""]) {
      assert.deepEqual(alone.encode(prompt), make({}).encode(prompt));
    }
  }
});

test("the length is the config's, but never more than the text encoder has", () => {
  assert.equal(make({ config: { model_max_length: 8 } }).maxLength, 8);
  assert.equal(make({ config: { model_max_length: 1e30 } }).maxLength, 12);
  assert.equal(make({}).maxLength, 12);
});

test("files that are not CLIP's are refused by name", () => {
  const refused = (files: ClipTokenizerFiles, message: RegExp) =>
    assert.throws(() => ClipTokenizer.fromFiles({ vocab, merges, maxLength: 12, ...files }), {
      name: "CheckpointError",
      message,
    });
  refused({ vocab: undefined }, /expected vocab\.json and merges\.txt, or tokenizer\.json, found neither/);
  refused({ vocab: undefined, tokenizerJson: {} }, /model of tokenizer\.json to be an object/);
  refused(
    { vocab: undefined, tokenizerJson: { model: { type: "Unigram" } } },
    /model type to be BPE, found "Unigram"/,
  );
  refused({ vocab: "x" }, /vocabulary to be an object, found "x"/);
  refused({ vocab: { ...vocab, x: -1 } }, /id of "x" to be a whole number, found "-1"/);
  refused({ vocab: { ...vocab, x: "1" } }, /id of "x" to be a whole number, found "1"/);
  refused({ vocab: { a: 0 } }, /special token to be one of the vocabulary, found "<\|startoftext\|>"/);
  refused({ merges: "a b c\n" }, /merge to be two parts, found "a b c"/);
  refused({ config: "x" }, /tokenizer_config\.json to be an object, found "x"/);
  refused(
    { config: { tokenizer_class: "T5Tokenizer" } },
    /tokenizer_class to be CLIPTokenizer, found "T5Tokenizer"/,
  );
  refused({ config: { model_max_length: 1 } }, /model_max_length to be a number of at least 2, found "1"/);
  refused({ config: { model_max_length: NaN } }, /model_max_length/);
  refused({ maxLength: undefined }, /model_max_length to be at most 1000000, found "Infinity"/);
  refused({ config: { pad_token: "[PAD]" } }, /one of the vocabulary, found "\[PAD\]"/);
  refused({ config: { bos_token: { ...token("<|startoftext|>", true), lstrip: true } } }, /neither lstrip/);
  refused({ config: { eos_token: 5 } }, /eos_token to be an object, found "5"/);
});
