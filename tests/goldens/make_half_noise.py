"""How far the networks in float16 are from float64, by PyTorch on a CPU (products summed in float32, every tensor between
operations rounded to float16), and the pictures that few steps give: python3 make_half_noise.py. Writes half_noise.json, the
yardstick of the GPU's float16."""
import json
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from common import EMOJI, HERE, merged_unet, precision
from make_emoji import CASES, draw, pipelines

FOLDERS = {"emoji": EMOJI, "sd15_small": f"{HERE}/sd15_small"}
OPTIONS = ("ratio", "max_downsample", "sx", "sy", "merge_attn", "merge_crossattn", "merge_mlp")


def compute(pipe, g, j):
    y = {"text.last_hidden_state": pipe.text_encoder(g["text.input_ids"])[0]}
    # The tests give each network the goldens, not what the one before it made.
    ctx = g["text.last_hidden_state"]
    if "unet.timestep" in g:
        t = g["unet.timestep"]
        y["unet.output"] = pipe.unet(g["unet.sample"], t, ctx).sample
    else:
        for i, t in enumerate(g["unet.timesteps"]):
            y[f"unet.output_{i}"] = pipe.unet(g["unet.sample"], t, ctx).sample
        t = g["unet.timesteps"][0]
    cases = {f"tome_unet.{c['name']}": c for c in j["tome_unet"]} if "tome_unet" in j else {f"tome.{n}": c for n, c in j["tome"].items()}
    for k, c in cases.items():
        y[f"{k}.output"] = merged_unet(pipe, {o: c[o] for o in OPTIONS}, g[f"{k}.sample"], t, ctx)
    y["vae.decode_output"] = pipe.vae.decode(g["vae.decode_input"]).sample
    posterior = pipe.vae.encode(g["vae.encode_input"]).latent_dist
    y["vae.encode_mean"], y["vae.encode_logvar"] = posterior.mean, posterior.logvar
    return y


if __name__ == "__main__":
    out = {}
    for name, folder in FOLDERS.items():
        stem = f"{folder}/golden/golden" if name == "emoji" else f"{folder}/golden"
        g, j = load_file(f"{stem}.safetensors"), json.load(open(f"{stem}.json"))
        pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, torch_dtype=torch.float32)
        runs = {}
        for dtype in (torch.float64, torch.float16):
            with precision(pipe, dtype, 1):
                runs[dtype] = compute(pipe, {k: v.to(dtype) if v.is_floating_point() else v for k, v in g.items()}, j)
        out[name] = {}
        for k, want in runs[torch.float64].items():
            d = runs[torch.float16][k].double() - want
            assert torch.isfinite(d).all(), (name, k)
            out[name][k] = {"max": float(f"{float(d.abs().max()):.3g}"), "rms": float(f"{float(d.pow(2).mean().sqrt()):.3g}")}
            print(f"{name:12} {k:28} {float(want.abs().max()):8.3f} {out[name][k]}")
    g = load_file(f"{HERE}/emoji.safetensors")
    pipe = StableDiffusionPipeline.from_pretrained(EMOJI, safety_checker=None, torch_dtype=torch.float32)
    pipes, out["pictures"] = pipelines(pipe), {}
    for name, c in CASES.items():
        if c["steps"] > 6:
            continue
        with precision(pipe, torch.float16, 1):
            d = draw(pipes, c, g)[0].double() - g[f"{name}.image"].double()
        out["pictures"][name] = {"max": float(d.abs().max()), "rms": float(f"{float(d.pow(2).mean().sqrt()):.3g}")}
        print(name, out["pictures"][name])
    with open(f"{HERE}/half_noise.json", "w") as f:
        f.write(json.dumps(out, indent=1) + "\n")
