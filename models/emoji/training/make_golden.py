"""Reference outputs for another implementation: python3 make_golden.py [model dir] [--out dir] [--size 24] [--merge merge.py]
Without arguments: ../golden from the folder above. Needs torch, numpy, Pillow and tomesd (or the path of its merge.py).
All from the exported fp16 weights computed in fp32 on the CPU."""
import argparse, importlib.util, json, os
import torch
import diffusion as D, model as M
from sample import load
from util import save_png_grid, save_safetensors, to_uint8

ap = argparse.ArgumentParser()
here = os.path.dirname(os.path.abspath(__file__))
ap.add_argument("model", nargs="?", default=os.path.dirname(here)); ap.add_argument("--out"); ap.add_argument("--merge"); ap.add_argument("--size", type=int, default=24)
ap.add_argument("--seeds", type=int, default=60, help="noises tried for the merged UNet runs, to stay clear of ties"); ap.add_argument("--threads", type=int, default=2)
a = ap.parse_args()
a.out = a.out or os.path.join(a.model, "golden")
os.makedirs(a.out, exist_ok=True)
torch.set_num_threads(a.threads)
if not a.merge:  # the file alone: its package imports more than the matching needs
    package = importlib.util.find_spec("tomesd").submodule_search_locations[0]
    a.merge = os.path.join(package, "merge.py")
spec = importlib.util.spec_from_file_location("tome_merge", a.merge)
tome = importlib.util.module_from_spec(spec); spec.loader.exec_module(tome)
unet, text, vae, tok = load(a.model)
S = a.size
NOTES = {
    "precision": "the exported fp16 weights, computed in float32 by torch on the CPU; another order of summation gives differences of about 1e-5 relative",
    "tokenizer": "as transformers' fast CLIPTokenizer: NFC, white space to one blank, lower case, no ftfy (ftfy would straighten the curly quotes)",
    "text": "last_hidden_state after final_layer_norm, causal mask, no padding mask", "unet": "sample [2,4,S,S], batch = (prompt, empty prompt)",
    "ddim": "guidance e_uncond + g (e_cond - e_uncond); latents_after_step_i is x after i steps; eta 0",
    "vae": "decode_input is already divided by scaling_factor; encode_mean and encode_logvar (of the posterior, not clamped) are not multiplied by it; image.uint8 = round(clamp(y/2+0.5, 0, 1)*255), HWC",
    "tome": "merge() returns [unmerged tokens in the order unmerged_tokens, dst tokens in the order dst_tokens]; merged_tokens[i] goes to merged_into[i] "
            "(token numbers 0..N-1, row-major); mean includes the dst token itself; metric gives the plan, input is what is merged; rand_idx [h//sy, w//sx] is "
            "the position (row-major in the sy x sx cell) of the dst token; gap_* are the distances to the nearest tie, in float64",
    "tome_unet": "tomesd's diffusers block: plan from the block's input before norm1, applied as x = u(attn(m(norm(x)))) + x, in blocks with S*S tokens only; "
                 "block0..2 in the order of execution (down, up, up)"}
T, J = {}, {"notes": NOTES, "latent_size": S, "image_size": S * 4, "scaling_factor": vae.cfg["scaling_factor"]}
randn = lambda *s, seed: torch.randn(*s, generator=torch.Generator().manual_seed(seed))

# 1. tokenizer
prompts = ["a 3d icon of a red apple on a sky blue background", "", "Flat  icon of a CAT's face,\n(on mint-green)!!! 3.14",
           "caf\u00e9 \u2615 na\u00efve \u65e5\u672c\u8a9e \U0001f34e\u2764\ufe0f \u00bd \u0416\u0443\u043a", "e\u0301clair & don't you'll <b>tag</b> t-rex #42 \u201cquotes\u201d\u2026",
           "a very long prompt " + ", ".join(["red apple", "yellow star", "blue heart", "purple ghost"] * 6)]
J["tokenizer"] = [{"prompt": p, "ids": tok.encode(p)} for p in prompts]

with torch.no_grad():
    # 2. text encoder
    T["text.input_ids"] = torch.tensor([tok.encode(prompts[0]), tok.encode("")])
    T["text.last_hidden_state"] = ctx = text(T["text.input_ids"])

    # 3. UNet: batch of 2 (prompt, empty), one timestep
    T["unet.sample"], T["unet.timestep"], T["unet.context"] = randn(2, 4, S, S, seed=11), torch.tensor([481, 481]), ctx
    T["unet.output"] = unet(T["unet.sample"], T["unet.timestep"], ctx)

    # 4. DDIM, 20 steps, CFG 4, empty negative prompt
    T["ddim.noise"] = randn(1, 4, S, S, seed=5)
    T["ddim.timesteps"] = torch.tensor(D.timesteps(20))
    got = {}
    z = D.ddim(unet, ctx[:1], ctx[1:], T["ddim.noise"], 20, 4.0, lambda i, x: got.__setitem__(i, x.clone()))
    for i in (0, 1, 2, 19):
        T[f"ddim.latents_after_step_{i + 1}"] = got[i]
    J["ddim"] = {"prompt": prompts[0], "negative_prompt": "", "steps": 20, "guidance_scale": 4.0, "timesteps": D.timesteps(20)}

    # 5. VAE
    T["vae.decode_input"] = z / vae.cfg["scaling_factor"]  # already divided by scaling_factor
    T["vae.decode_output"] = y = vae.decode(T["vae.decode_input"])
    T["image.uint8"] = to_uint8(y)[0]
    T["vae.encode_input"] = y.clamp(-1, 1)
    T["vae.encode_mean"], T["vae.encode_logvar"] = vae.encode(T["vae.encode_input"])  # not multiplied by scaling_factor
    save_png_grid(y, f"{a.out}/image.png", 1)


# 6. tomesd
# torch's argsort is not stable by contract; the src and dst lists are meant in ascending token order, so sort stably here.
torch.Tensor.argsort = lambda t, dim=-1, descending=False: torch.sort(t, dim=dim, descending=descending, stable=True).indices


def cells(fn):
    return {n: c.cell_contents for n, c in zip(fn.__code__.co_freevars, fn.__closure__)}


def plan(merge, unmerge):
    """Token indices (in 0..N-1): dst, unmerged and merged src tokens in tomesd's order, and each merged token's dst."""
    c = dict(cells(merge), **cells(unmerge))
    ai, bi = c["a_idx"][0, :, 0], c["b_idx"][0, :, 0]
    return {"dst_tokens": bi, "unmerged_tokens": ai[c["unm_idx"][..., 0]], "merged_tokens": ai[c["src_idx"][..., 0]],
            "merged_into": bi[c["dst_idx"][..., 0]]}


def gaps(x, dst):
    """Smallest gap between best and second-best dst of any token, and between neighbours in the sorted best similarities."""
    m = x.double() / x.double().norm(dim=-1, keepdim=True)
    src = torch.tensor(sorted(set(range(x.shape[1])) - set(dst.tolist())))
    s = m[:, src] @ m[:, dst].transpose(1, 2)
    top = s.topk(2, dim=-1).values if s.shape[2] > 1 else torch.stack([s[..., 0], s[..., 0] - 1], -1)
    best = top[..., 0].sort(dim=-1, descending=True).values
    return float((top[..., 0] - top[..., 1]).min()), best


#        B   h   w  C  sx sy  share of tokens to merge (1 = the most possible), no_rand
CASES = [(1, 8, 8, 16, 2, 2, 0.10, True), (2, 8, 8, 16, 2, 2, 0.50, True), (2, 8, 8, 16, 2, 2, 0.75, False), (1, 12, 8, 24, 2, 2, 0.50, False),
         (2, 7, 9, 16, 2, 2, 0.50, True), (2, 7, 9, 16, 2, 2, 0.60, False), (3, 10, 11, 12, 3, 3, 0.40, False), (1, 10, 11, 12, 3, 3, 1.0, True),
         (2, 9, 12, 32, 4, 2, 0.30, False), (1, 13, 6, 32, 2, 4, 0.70, False), (2, 16, 16, 8, 4, 4, 1.0, False), (4, 5, 14, 20, 4, 3, 0.25, True),
         (2, 24, 24, 64, 2, 2, 0.50, False), (1, 16, 24, 40, 3, 2, 1.0, False), (1, 6, 6, 16, 2, 2, 0.50, True)]
J["tome"] = []
for n, (B, h, w, C, sx, sy, share, no_rand) in enumerate(CASES):
    N = h * w
    r = int(N * share)
    for seed in range(10000 * n + 1, 10000 * n + 4000):  # the first input that is clear of ties
        x = randn(B, N, C, seed=seed)
        g = torch.Generator().manual_seed(seed)
        draw = torch.zeros(h // sy, w // sx, 1, dtype=torch.int64) if no_rand else torch.randint(
            sy * sx, size=(h // sy, w // sx, 1), generator=torch.Generator().manual_seed(seed))
        m, u = tome.bipartite_soft_matching_random2d(x, w, h, sx, sy, r, no_rand=no_rand, generator=g)
        pl = plan(m, u)
        g1, best = gaps(x, pl["dst_tokens"])
        g2 = float((best[:, :-1] - best[:, 1:]).min())
        k_ = pl["merged_tokens"].shape[1]
        edge = float((best[:, k_ - 1] - best[:, k_]).min()) if k_ < best.shape[1] else 1.0  # between the last merged and the first kept
        if min(g1, edge if N >= 200 else g2) > 5e-6:
            break
    assert min(g1, edge if N >= 200 else g2) > 5e-6, (n, g1, g2, edge)
    v = randn(B, N, C, seed=seed + 900000)  # merged with the plan drawn from x
    k = f"tome.{n}"
    T[f"{k}.metric"], T[f"{k}.rand_idx"], T[f"{k}.input"] = x, draw[..., 0], v
    T[f"{k}.merged"] = mv = m(v)
    T[f"{k}.unmerged"] = u(mv)
    for name, t in pl.items():
        T[f"{k}.{name}"] = t
    J["tome"].append({"case": n, "batch": B, "h": h, "w": w, "channels": C, "sx": sx, "sy": sy, "r_asked": r, "r": int(pl["merged_tokens"].shape[1]),
                      "no_rand": no_rand, "seed": seed, "gap_best_second": g1, "gap_sorted": g2, "gap_edge": edge,
                      "compare": "sets" if N >= 200 else "order"})

# 7. the UNet with merging in the transformer blocks of the top resolution (max_downsample 1), no_rand
blocks = [b for b in unet.modules() if isinstance(b, M.BasicTransformerBlock)]
log = []


def hook(attn, cross, mlp, ratio=0.5, sx=2, sy=2):
    def f(x):
        no = tome.do_nothing
        if x.shape[1] != S * S:
            return (no,) * 6
        m, u = tome.bipartite_soft_matching_random2d(x, S, S, sx, sy, int(x.shape[1] * ratio), no_rand=True)
        pl = plan(m, u)
        g1, best = gaps(x, pl["dst_tokens"])
        r = pl["merged_tokens"].shape[1]
        log.append((g1, float((best[:, r - 1] - best[:, r]).min()), pl))
        return (m if attn else no), (m if cross else no), (m if mlp else no), (u if attn else no), (u if cross else no), (u if mlp else no)
    return f


def merged_unet(x, *which):
    log.clear()
    for b in blocks:
        b.tome = hook(*which)
    with torch.no_grad():
        y = unet(x, torch.tensor([481, 481]), ctx)
    for b in blocks:
        b.tome = None
    return y, min(min(l[0], l[1]) for l in log)


J["tome_unet"] = []
for name, which in (("attn", (True, False, False)), ("all", (True, True, True))):
    seed = max(range(100, 100 + a.seeds), key=lambda s: merged_unet(randn(2, 4, S, S, seed=s), *which)[1])
    x = randn(2, 4, S, S, seed=seed)
    y, gap = merged_unet(x, *which)
    T[f"tome_unet.{name}.sample"], T[f"tome_unet.{name}.output"] = x, y
    with torch.no_grad():
        plain = unet(x, torch.tensor([481, 481]), ctx)
    T[f"tome_unet.{name}.output_without_merging"] = plain
    for i, (_, _, pl) in enumerate(log):
        T[f"tome_unet.{name}.block{i}.merged_tokens"], T[f"tome_unet.{name}.block{i}.merged_into"] = pl["merged_tokens"], pl["merged_into"]
    J["tome_unet"].append({"name": name, "merge_attn": which[0], "merge_crossattn": which[1], "merge_mlp": which[2], "ratio": 0.5, "sx": 2, "sy": 2,
                           "max_downsample": 1, "no_rand": True, "seed": seed, "timestep": 481, "context": "text.last_hidden_state", "blocks_merged": len(log),
                           "smallest_similarity_gap": gap, "rms_change_by_merging": float((y - plain).pow(2).mean().sqrt())})
save_safetensors(T, f"{a.out}/golden.safetensors")
J["tensors"] = {k: list(v.shape) for k, v in sorted(T.items())}
json.dump(J, open(f"{a.out}/golden.json", "w"), indent=1, ensure_ascii=True)
print(json.dumps({k: J[k] for k in ("tome", "tome_unet")}, indent=0)[:6000])
