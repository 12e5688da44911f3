"""How far the tensors of models/emoji/golden are from float64, and from diffusers in float32 on one and on two threads:
python3 make_noise_floor.py. Writes models/emoji/golden/noise_floor.json, beside the goldens of training/make_golden.py."""
import json
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from common import EMOJI, merged_unet, precision

G = load_file(f"{EMOJI}/golden/golden.safetensors")
J = json.load(open(f"{EMOJI}/golden/golden.json"))


def compute(pipe, g):
    y, ids = {}, g["text.input_ids"]
    y["text.last_hidden_state"] = ctx = pipe.text_encoder(ids)[0]
    y["unet.output"] = pipe.unet(g["unet.sample"], g["unet.timestep"], ctx).sample
    for c in J["tome_unet"]:
        k, t = f"tome_unet.{c['name']}", torch.tensor(c["timestep"])
        options = {o: c[o] for o in ("ratio", "max_downsample", "sx", "sy", "merge_attn", "merge_crossattn", "merge_mlp")}
        y[f"{k}.output"] = merged_unet(pipe, options, g[f"{k}.sample"], t, ctx)
        y[f"{k}.output_without_merging"] = pipe.unet(g[f"{k}.sample"], t, ctx).sample
    x, s = g["ddim.noise"], pipe.scheduler
    s.set_timesteps(J["ddim"]["steps"])
    for i, t in enumerate(s.timesteps):
        e, e_uncond = pipe.unet(torch.cat([x, x]), t, ctx).sample.chunk(2)
        x = s.step(e_uncond + J["ddim"]["guidance_scale"] * (e - e_uncond), t, x).prev_sample
        if f"ddim.latents_after_step_{i + 1}" in G:
            y[f"ddim.latents_after_step_{i + 1}"] = x
    image = pipe.vae.decode(x / J["scaling_factor"]).sample  # of these latents, to see what reaches the picture
    y["image.uint8"] = ((image / 2 + 0.5).clamp(0, 1) * 255).round()[0].permute(1, 2, 0)
    y["vae.decode_output"] = pipe.vae.decode(g["vae.decode_input"]).sample
    p = pipe.vae.encode(g["vae.encode_input"]).latent_dist
    y["vae.encode_mean"], y["vae.encode_logvar"] = p.mean, p.logvar
    return y


if __name__ == "__main__":
    pipe = StableDiffusionPipeline.from_pretrained(EMOJI, safety_checker=None, torch_dtype=torch.float32)
    runs = {}
    for name, dtype, threads in (("f64", torch.float64, 1), ("diffusers_1_thread", torch.float32, 1), ("diffusers_2_threads", torch.float32, 2)):
        with precision(pipe, dtype, threads):
            runs[name] = compute(pipe, {k: v.to(dtype) if v.is_floating_point() else v for k, v in G.items()})
    out = {}
    for k in runs["f64"]:
        want = G[k].double()
        out[k] = {"max_abs": round(float(want.abs().max()), 6)} | {n: float(f"{float((r[k].double() - want).abs().max()):.3g}") for n, r in runs.items()}
        print(f"{k:38} {out[k]}")
    with open(f"{EMOJI}/golden/noise_floor.json", "w") as f:
        f.write(json.dumps(out, indent=1) + "\n")
