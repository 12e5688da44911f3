"""Token ids of awkward prompts: python3 make_tokenizer.py [--slow <python with transformers 4>]
Writes tokenizer.json: ids by transformers' fast tokenizer for models/emoji, and, where they differ, by the slow one of transformers 4."""
import argparse, json, os, subprocess
from common import EMOJI, HERE

PROMPTS = [
    # plain
    "a 3d icon of a red apple on a sky blue background", "", " ", "   \t\n\r  ", "a", "A", "I", "flat icon of a cat face", "a panda face, cartoon, on pink",
    "Cat-face,dog;bird:fish.", "...", "!!!???", "hello!!!world", "a photo of an astronaut riding a horse on mars",
    # contractions, apostrophes
    "I'm you're he's we'll they've she'd don't", "I'M YOU'RE HE'S WE'LL THEY'VE SHE'D DON'T", "'s't're've'm'll'd", "rock'n'roll 'tis '90s", "it''s ' 's", "the cats' toys",
    "don\u2019t \u2018quote\u2019 \u201cdouble\u201d", "o'reilly's'tuff",
    # digits and numbers
    "1", "12345", "3.14159", "x2 4k 8-bit 2024", "\u0663\u0664\u0665 \u0967\u0968\u0969", "\u00bd \u00b2 \u2163 \u2460 \u4e94", "a1b2c3",
    # white space
    "  leading and trailing  ", "tabs\tand\nnew\r\nlines", "no\u00a0break\u2003em\u3000ideographic\u2028line\u2029para\u0085nel", "zero\u200bwidth\u200cnon\u200djoiner\ufeffbom", "vt\u000bff\u000cfs\u001cgs\u001drs\u001eus\u001f",
    # control characters and what ends strings elsewhere
    "nul\u0000char", "bell\u0007esc\u001b[31mred\u001b[0m del\u007f", "c1\u0080\u0090\u009f", "soft\u00adhyphen", "\ufffd replacement \ufffe noncharacter",
    # case
    "\u0130stanbul I\u0307 \u0131", "STRASSE stra\u00dfe \u1e9e", "\u03a3\u0391\u03a3 \u03c3\u03b1\u03c2 \u039f\u0394\u039f\u03a3", "\u01c5 \u01f2 \ufb01ne \ufb00", "\u0410\u0411\u0412 \u0436\u0443\u043a", "\U0001d400\U0001d401 \uff21\uff22\uff43",
    # composed and combining marks
    "caf\u00e9 cafe\u0301", "\u212b \u00c5 A\u030a", "n\u0303a\u0300o\u0302", "q\u0307\u0323 q\u0323\u0307", "\u0e01\u0e33 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0301alone", "e\u0301\u0301\u0301", "\u1112\u1161\u11ab \ud55c",
    # CJK, right to left
    "\u65e5\u672c\u8a9e \u306e \u30ea\u30f3\u30b4", "\u4e2d\u6587\uff0c\u6807\u70b9\u3002", "\u4e00\u53ea\u7ea2\u8272\u7684\u82f9\u679c red apple", "\ud55c\uad6d\uc5b4 \uc0ac\uacfc", "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627", "\U00020000\U0002a6d6",
    # emoji
    "\U0001f34e", "\U0001f34e\U0001f34f red", "\u2764\ufe0f \u2764", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\U0001f44d\U0001f3fd", "1\ufe0f\u20e3", "cat\U0001f431cat", "\u2615coffee\u2026",
    # special tokens as text
    "<|endoftext|>", "<|startoftext|>", "a <|endoftext|> b", "a<|endoftext|>b", "<|STARTOFTEXT|> Cat", "<|endoftext|><|endoftext|>", "<|endoftext", "a <|startoftext|>cat's<|endoftext|>", "</w> cat</w> @@", "<pad> <unk> [PAD] <s>",
    # symbols, mark-up, escapes
    "<b>bold</b> &amp; &lt; &#39;", "a_b-c+d=e*f/g\\h|i~j`k^l%m$n#o@p", "(((masterpiece))), [ugly:1.2] {x|y}", "https://example.org/a?b=c&d=%20", "\u20ac\u00a3\u00a5 \u00a9\u00ae\u2122 \u00b0\u00b1\u00d7\u00f7", "\u2013 \u2014 \u2015 \u2212 \u00ab\u00bb",
    # the limit
    "a very long prompt " + ", ".join(["red apple", "yellow star", "blue heart", "purple ghost"] * 6), "apple " * 29, "apple " * 30, "apple " * 31, "apple " * 500,
    "\U0001f34e" * 40, "supercalifragilisticexpialidocious", "x" * 300, "!" * 200, "long tail " * 14 + "<|endoftext|> after",
]
SLOW = """
import json, sys
from transformers import CLIPTokenizer, CLIPTokenizerFast, __version__
prompts, folder = json.load(open(sys.argv[1])), sys.argv[2]
out = {"version": __version__}
for name, cls in (("slow", CLIPTokenizer), ("fast4", CLIPTokenizerFast)):
    t = cls.from_pretrained(folder)
    out[name] = [t(p, padding="max_length", max_length=t.model_max_length, truncation=True).input_ids for p in prompts]
    out["full_" + name] = [t(p).input_ids for p in prompts]
print(json.dumps(out))
"""


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--slow", help="a python with transformers 4, for the ids of the slow tokenizer")
    ap.add_argument("--folder", default=f"{EMOJI}/tokenizer")
    a = ap.parse_args()
    import transformers
    t = transformers.CLIPTokenizer.from_pretrained(a.folder)
    n = t.model_max_length
    cases = [{"prompt": p, "ids": t(p, padding="max_length", max_length=n, truncation=True).input_ids, "full": t(p).input_ids} for p in PROMPTS]
    out = {"notes": {"ids": "padded and cut to max_length", "full": "the whole prompt, neither cut nor padded; only where it is longer than max_length",
                     "slow": "ids of transformers 4's slow tokenizer (without ftfy), only where they differ"},
           "max_length": n, "fast": f"transformers {transformers.__version__}"}
    if a.slow:
        r = json.loads(subprocess.run([a.slow, "-c", SLOW, "/dev/stdin", a.folder], input=json.dumps(PROMPTS), capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        out["slow"] = f"transformers {r['version']}"
        for i, c in enumerate(cases):
            assert c["ids"] == r["fast4"][i] and c["full"] == r["full_fast4"][i], (c["prompt"], "fast tokenizers of transformers 4 and 5 differ")
            if c["ids"] != r["slow"][i]:
                c["slow"] = r["slow"][i]
    elif os.path.exists(f"{HERE}/tokenizer.json"):  # without it, what is known about unchanged cases stays
        old = json.load(open(f"{HERE}/tokenizer.json"))
        known = {c["prompt"]: c for c in old["cases"] if "slow" in c}
        out["slow"] = old.get("slow", "not run")
        for c in cases:
            if c["prompt"] in known and known[c["prompt"]]["ids"] == c["ids"]:
                c["slow"] = known[c["prompt"]]["slow"]
    for c in cases:
        if len(c["full"]) <= n:
            del c["full"]
    with open(f"{HERE}/tokenizer.json", "w") as f:
        f.write(json.dumps(out, indent=1)[:-2] + ',\n "cases": [\n' + ",\n".join("  " + json.dumps(c) for c in cases) + "\n ]\n}\n")
    print(len(cases), "prompts,", sum("slow" in c for c in cases), "where the slow tokenizer differs")


if __name__ == "__main__":
    main()
