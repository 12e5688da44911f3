/**
 * CLIP's byte-level BPE, id for id what the fast `CLIPTokenizer` of transformers gives.
 *
 * Own code, not `@huggingface/tokenizers`: that package (0.2.0) differs from transformers on a final sigma,
 * on U+FEFF and U+0085, and on special tokens in mixed case.
 *
 * @module
 */
import { CheckpointError, quote } from "../errors.ts";

/** The parsed files of a `tokenizer/` folder: `vocab` and `merges`, or else `tokenizerJson`. */
export interface ClipTokenizerFiles {
  /** vocab.json */
  vocab?: unknown;
  /** merges.txt */
  merges?: string;
  /** tokenizer.json, which is all that transformers 5 writes beside the config. */
  tokenizerJson?: unknown;
  /** tokenizer_config.json */
  config?: unknown;
  /** special_tokens_map.json */
  specialTokensMap?: unknown;
  /** Positions of the text encoder: the length if the config states none, and its upper limit. */
  maxLength?: number;
}

/** A whole prompt, before and after the cut to the model's length. */
export interface Encoding {
  /** `[maxLength]`: begin, at most maxLength − 2 tokens, end, padding. */
  ids: Int32Array;
  /** Every token of the prompt, also those cut off, without begin and end. */
  tokens: { id: number; text: string }[];
  /** How many of `tokens` did not fit. */
  cut: number;
  /** What those say, in lower case; empty if all fit. */
  cutText: string;
}

const DEFAULT_SPECIAL = {
  bos_token: "<|startoftext|>",
  eos_token: "<|endoftext|>",
  unk_token: "<|endoftext|>",
  pad_token: "<|endoftext|>",
};

const WORDS =
  /<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\p{White_Space}\p{L}\p{N}]+/gu;

export class ClipTokenizer {
  readonly maxLength: number;
  readonly bosId: number;
  readonly eosId: number;
  readonly padId: number;
  readonly #unkId: number;
  readonly #vocab: ReadonlyMap<string, number>;
  readonly #texts: ReadonlyMap<number, string>;
  readonly #ranks: ReadonlyMap<string, number>;
  /** Added tokens found in the prompt as it is, and in the normalised prompt. */
  readonly #raw: RegExp | undefined;
  readonly #normalized: RegExp | undefined;

  /**
   * @throws {CheckpointError} if a file is missing, malformed, or asks for what CLIP's tokenizer does not do.
   */
  static fromFiles(files: ClipTokenizerFiles): ClipTokenizer {
    return new ClipTokenizer(files);
  }

  private constructor(files: ClipTokenizerFiles) {
    const config = record(files.config ?? {}, "tokenizer_config.json");
    const kind = config.tokenizer_class ?? "CLIPTokenizer";
    if (!["CLIPTokenizer", "CLIPTokenizerFast", "TokenizersBackend"].includes(kind as string)) {
      throw bad("tokenizer_class", "CLIPTokenizer", kind);
    }
    const { vocab, merges } = readModel(files);
    this.#vocab = vocab;
    this.#texts = new Map([...vocab].map(([text, id]) => [id, text]));
    this.#ranks = new Map(merges.map((pair, rank) => [pair, rank]));

    const { special, added } = readSpecialTokens(files, config);
    const idOf = (text: string) => {
      const id = vocab.get(text);
      if (id === undefined) throw bad("special token", "one of the vocabulary", text);
      return id;
    };
    this.bosId = idOf(special.bos_token);
    this.eosId = idOf(special.eos_token);
    this.padId = idOf(special.pad_token);
    this.#unkId = idOf(special.unk_token);
    added.forEach((_, text) => idOf(text));
    this.#raw = alternatives([...added].filter(([, normalized]) => !normalized));
    this.#normalized = alternatives([...added].filter(([, normalized]) => normalized));

    const length = config.model_max_length;
    if (length !== undefined && !(typeof length === "number" && length >= 2)) {
      throw bad("model_max_length", "a number of at least 2", length);
    }
    this.maxLength = Math.min(length ?? Infinity, files.maxLength ?? Infinity);
    // Without a length, transformers writes 10^30.
    if (!(this.maxLength <= 1e6)) throw bad("model_max_length", "at most 1000000", this.maxLength);
  }

  /** `[maxLength]`: begin, the prompt's tokens cut to maxLength − 2, end, padding. */
  encode(prompt: string): Int32Array {
    return this.encodeAll(prompt).ids;
  }

  /** As `encode`, with the tokens themselves and what did not fit. */
  encodeAll(prompt: string): Encoding {
    const all = this.#tokenize(prompt.toWellFormed());
    const kept = Math.min(all.length, this.maxLength - 2);
    const ids = new Int32Array(this.maxLength).fill(this.padId);
    ids[0] = this.bosId;
    ids.set(all.slice(0, kept), 1);
    ids[kept + 1] = this.eosId;
    return {
      ids,
      tokens: all.map((id) => ({ id, text: this.#texts.get(id)! })),
      cut: all.length - kept,
      cutText: this.decode(all.slice(kept)),
    };
  }

  /** Readable text of tokens, special ones included; unknown ids are left out. */
  decode(ids: Iterable<number>): string {
    const bytes: number[] = [];
    for (const id of ids) {
      const text = this.#texts.get(id) ?? "";
      const word = text.endsWith("</w>") ? text.slice(0, -4) + " " : text;
      for (const c of word) {
        const byte = BYTE_OF.get(c);
        bytes.push(...(byte === undefined ? new TextEncoder().encode(c) : [byte]));
      }
    }
    return new TextDecoder().decode(new Uint8Array(bytes)).trim();
  }

  #tokenize(prompt: string): number[] {
    const ids: number[] = [];
    for (const { text, added } of cutOut(prompt, this.#raw)) {
      if (added) {
        ids.push(this.#vocab.get(text)!);
        continue;
      }
      for (const part of cutOut(normalize(text), this.#normalized)) {
        if (part.added) ids.push(this.#vocab.get(part.text)!);
        else for (const word of part.text.match(WORDS) ?? []) this.#pushWord(word, ids);
      }
    }
    return ids;
  }

  #pushWord(word: string, ids: number[]) {
    // transformers splits every word once more, by GPT-2's pattern: it takes written-out special tokens apart.
    if (word.length > 3 && word.startsWith("<|") && word.endsWith("text|>")) {
      for (const part of ["<|", word.slice(2, -2), "|>"]) this.#pushWord(part, ids);
      return;
    }
    let symbols = Array.from(new TextEncoder().encode(word), (byte) => BYTE_TEXTS[byte]);
    symbols[symbols.length - 1] += "</w>";
    while (symbols.length > 1) {
      let best = Infinity;
      for (let i = 0; i + 1 < symbols.length; i++) {
        best = Math.min(best, this.#ranks.get(`${symbols[i]} ${symbols[i + 1]}`) ?? Infinity);
      }
      if (best === Infinity) break;
      const merged: string[] = [];
      for (let i = 0; i < symbols.length; i++) {
        if (i + 1 < symbols.length && this.#ranks.get(`${symbols[i]} ${symbols[i + 1]}`) === best) {
          merged.push(symbols[i] + symbols[++i]);
        } else merged.push(symbols[i]);
      }
      symbols = merged;
    }
    for (const symbol of symbols) ids.push(this.#vocab.get(symbol) ?? this.#unkId);
  }
}

/**
 * NFC, white space to one blank, lower case. The lower case is that of each character by itself, as in Rust:
 * sigma is the one letter whose lower case depends on its place in JavaScript.
 */
function normalize(text: string): string {
  return text.normalize("NFC").replace(/\p{White_Space}+/gu, " ").replaceAll("Σ", "σ").toLowerCase();
}

/** Printable characters stand for their own byte, the other 68 bytes for U+0100 onward. */
const BYTE_TEXTS = (() => {
  let next = 256;
  const printable = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
})();
const BYTE_OF = new Map(BYTE_TEXTS.map((text, byte) => [text, byte]));

function cutOut(text: string, pattern: RegExp | undefined): { text: string; added: boolean }[] {
  if (pattern === undefined) return [{ text, added: false }];
  return text.split(pattern).map((part, i) => ({ text: part, added: i % 2 === 1 }));
}

function alternatives(tokens: [string, boolean][]): RegExp | undefined {
  if (tokens.length === 0) return undefined;
  const texts = tokens.map(([text]) => text).sort((a, b) => b.length - a.length);
  return new RegExp(`(${texts.map((text) => text.replace(/[\\^$.*+?()[\]{}|\/]/g, "\\$&")).join("|")})`, "u");
}

function readModel(files: ClipTokenizerFiles): { vocab: Map<string, number>; merges: string[] } {
  let vocab = files.vocab;
  let merges: unknown = files.merges?.split(/\r?\n/).filter((line, i) =>
    line !== "" && !(i === 0 && line[0] === "#")
  );
  if (vocab === undefined || merges === undefined) {
    if (files.tokenizerJson === undefined) {
      throw new CheckpointError(
        "Cannot load the tokenizer: expected vocab.json and merges.txt, or tokenizer.json, found neither",
      );
    }
    const model = record(record(files.tokenizerJson, "tokenizer.json").model, "model of tokenizer.json");
    if (model.type !== "BPE") throw bad("model type", "BPE", model.type);
    vocab = model.vocab;
    merges = Array.isArray(model.merges)
      ? model.merges.map((pair) => Array.isArray(pair) ? pair.join(" ") : pair)
      : undefined;
  }
  const ids = new Map(Object.entries(record(vocab, "vocabulary"))) as Map<string, number>;
  for (const [text, id] of ids) {
    if (!Number.isInteger(id) || id < 0 || id > 0x7fffffff) {
      throw bad(`id of ${quote(text)}`, "a whole number", id);
    }
  }
  if (!Array.isArray(merges)) throw bad("merges", "a list", merges);
  for (const pair of merges) {
    if (typeof pair !== "string" || !/^\S+ \S+$/.test(pair)) throw bad("merge", "two parts", pair);
  }
  return { vocab: ids, merges };
}

/**
 * The four special tokens, and every added token with whether it is looked for in the normalised prompt. As
 * transformers 5 has it: a plain string is not, an `added_tokens_decoder` decides where it stands, and without
 * one special_tokens_map.json goes before the config.
 */
function readSpecialTokens(files: ClipTokenizerFiles, config: Record<string, unknown>) {
  const special = { ...DEFAULT_SPECIAL };
  const added = new Map<string, boolean>();
  const add = (token: unknown): string => {
    if (typeof token === "string") {
      added.set(token, false);
      return token;
    }
    const { content, normalized, lstrip, rstrip, single_word } = record(token, "special token");
    if (typeof content !== "string" || content === "") throw bad("special token", "a text", content);
    if (lstrip || rstrip || single_word) {
      throw bad(`special token ${quote(content)}`, "neither lstrip, rstrip nor single_word", "one of them");
    }
    added.set(content, normalized !== false);
    return content;
  };

  const decoder = config.added_tokens_decoder ??
    (files.vocab === undefined ? record(files.tokenizerJson, "tokenizer.json").added_tokens : undefined);
  const given = decoder === undefined
    ? { ...config, ...record(files.specialTokensMap ?? {}, "special_tokens_map.json") }
    : config;
  for (const token of Object.values(record(decoder ?? {}, "added_tokens_decoder"))) add(token);
  for (const key of ["bos_token", "eos_token", "unk_token", "pad_token"] as const) {
    const token = given[key] ?? DEFAULT_SPECIAL[key];
    const text = typeof token === "string" ? token : record(token, key).content;
    special[key] = decoder !== undefined && added.has(text as string) ? text as string : add(token);
  }
  return { special, added };
}

function record(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null) throw bad(what, "an object", value);
  return value as Record<string, unknown>;
}

function bad(what: string, expected: string, found: unknown): CheckpointError {
  const text = typeof found === "string"
    ? quote(found)
    : found === undefined
    ? "nothing"
    : quote(String(found));
  return new CheckpointError(`Cannot load the tokenizer: expected ${what} to be ${expected}, found ${text}`);
}
