"""CLIP's byte-level BPE tokenizer (transformers.CLIPTokenizer), without dependencies."""
import json, os, re, unicodedata

BOS, EOS = "<|startoftext|>", "<|endoftext|>"


def bytes_to_unicode():
    bs = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    cs, n = bs[:], 0
    for b in range(256):
        if b not in bs:
            bs.append(b); cs.append(256 + n); n += 1
    return dict(zip(bs, map(chr, cs)))


BYTES = bytes_to_unicode()


def split(text):
    """NFC, white space (Unicode's, so not U+001C..1F) to one blank, lower case letter by letter (no final sigma); then CLIP's pattern
    <specials>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"""
    text = "".join(c.lower() for c in re.sub(r"[^\S\x1c-\x1f]+", " ", unicodedata.normalize("NFC", text)))
    kind = lambda c: "s" if c == " " else unicodedata.category(c)[0] if unicodedata.category(c)[0] in "LN" else "o"
    out, i = [], 0
    while i < len(text):
        m = re.match(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d", text[i:])
        if m:
            out.append(m.group()); i += m.end(); continue
        k, j = kind(text[i]), i + 1
        if k in "Lo":
            while j < len(text) and kind(text[j]) == k:
                j += 1
        if k != "s":
            out.append(text[i:j])
        i = j
    return out


class Tokenizer:
    def __init__(self, vocab, merges, max_length):
        self.vocab, self.merges, self.max_length = vocab, merges, max_length
        self.ranks = {m: i for i, m in enumerate(merges)}
        self.bos, self.eos = vocab[BOS], vocab[EOS]
        self.cache = {}

    @classmethod
    def from_merges(cls, merges, max_length):
        v = list(BYTES.values())
        v = v + [c + "</w>" for c in v] + ["".join(m) for m in merges] + [BOS, EOS]
        assert len(set(v)) == len(v)
        return cls({t: i for i, t in enumerate(v)}, list(merges), max_length)

    @classmethod
    def load(cls, d):
        merges = [tuple(l.split()) for l in open(f"{d}/merges.txt", encoding="utf-8").read().split("\n")[1:] if l]
        return cls(json.load(open(f"{d}/vocab.json", encoding="utf-8")), merges,
                   json.load(open(f"{d}/tokenizer_config.json"))["model_max_length"])

    def save(self, d):
        os.makedirs(d, exist_ok=True)
        json.dump(self.vocab, open(f"{d}/vocab.json", "w", encoding="utf-8"), ensure_ascii=False)
        open(f"{d}/merges.txt", "w", encoding="utf-8").write(
            "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in self.merges))
        tok = lambda s, norm=True: {"content": s, "lstrip": False, "normalized": norm, "rstrip": False, "single_word": False}
        json.dump({"bos_token": tok(BOS), "eos_token": tok(EOS), "pad_token": EOS, "unk_token": tok(EOS)},
                  open(f"{d}/special_tokens_map.json", "w"), indent=2)
        at = lambda s: dict({"__type": "AddedToken"}, **tok(s))
        json.dump({"add_prefix_space": False, "bos_token": at(BOS), "clean_up_tokenization_spaces": True,
                   "do_lower_case": True, "eos_token": at(EOS), "errors": "replace",
                   "model_max_length": self.max_length, "pad_token": EOS, "tokenizer_class": "CLIPTokenizer",
                   "unk_token": at(EOS)}, open(f"{d}/tokenizer_config.json", "w"), indent=2)

    def bpe(self, word, used=None):
        if used is None and word in self.cache:
            return self.cache[word]
        w = [BYTES[b] for b in word.encode("utf-8")]
        w[-1] += "</w>"
        while len(w) > 1:
            r, i = min((self.ranks.get((a, b), 1 << 30), i) for i, (a, b) in enumerate(zip(w, w[1:])))
            if r == 1 << 30:
                break
            if used is not None:
                used.add(r)
            a, b = self.merges[r]
            i, out = 0, []
            while i < len(w):
                if i + 1 < len(w) and w[i] == a and w[i + 1] == b:
                    out.append(a + b); i += 2
                else:
                    out.append(w[i]); i += 1
            w = out
        self.cache[word] = w
        return w

    def encode(self, text):
        """Ids with start and end token, truncated and padded (with the end token) to max_length."""
        ids = []
        for w in split(text):
            ids += [self.vocab[w]] if w in (BOS, EOS) else [self.vocab.get(t, self.eos) for t in self.bpe(w)]
        ids = [self.bos] + ids[: self.max_length - 2] + [self.eos]
        return ids + [self.eos] * (self.max_length - len(ids))
