"""Pictures of models/emoji by diffusers' own pipelines from a seed, and its UNet merged at odd sizes: python3 make_emoji.py
Writes emoji.safetensors and emoji.json (conventions under notes; noise_floor: see README.md)."""
import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file
from common import EMOJI, HERE, clear_of_ties, merged_unet, randn, write

NOTES = {
    "seed": "generator = torch.Generator().manual_seed(seed) on the CPU, drawn in float32, NCHW",
    "image": "<case>.image [h, w, 3] uint8 = round(clamp(decoded / 2 + 0.5, 0, 1) * 255), as diffusers rounds; float64 may round another way by 1",
    "latents": "<case>.latents [1, 4, h/4, w/4]: after the last step, times scaling_factor still; <case>.latents_1: after the first",
    "text_to_image": "the one draw is the starting noise [1, 4, h/4, w/4]",
    "image_to_image": "init = image.init (uint8 / 255 * 2 - 1); draw 1: the posterior sample of the encoder, mean + exp(logvar / 2) * noise, times scaling_factor; "
                      "draw 2: the noise added to it at the first timestep that is run; of the timesteps the last floor(steps * strength) are run",
    "inpaint": "StableDiffusionInpaintPipeline with a UNet of 4 input channels. mask uint8, >= 128 is redrawn; latent mask: nearest, mask[4 y, 4 x]. Draw 1: posterior sample "
               "of image.init; draw 2: noise. Strength 1 starts from the noise alone, less from init noised as in image to image. After each step but the last: x = mask * x + (1 - mask) * "
               "add_noise(init latents, draw 2, next timestep); after the last the init latents themselves. The picture is not pasted over: the kept part went through the VAE. "
               "(The pipeline draws a third time, for the masked picture's latents, which 4 channels do not use.)",
    "tome": "tomesd's patch, use_rand False, stable order: sample [2, 4, h, w], timestep 481, context = context (prompt, empty prompt); blocks in the order of execution"}
PROMPT = "a 3d icon of a red apple on a sky blue background"
CASES = {
    "native": dict(kind="text_to_image", prompt=PROMPT, negative_prompt="", seed=1234, height=96, width=96, steps=20, guidance_scale=5.0),
    "wide": dict(kind="text_to_image", prompt="flat icon of a cat face on yellow", negative_prompt="purple, a heart", seed=7, height=64, width=96, steps=20, guidance_scale=5.0),
    "unguided": dict(kind="text_to_image", prompt="a yellow star, cartoon, on navy blue", negative_prompt="", seed=2 ** 31 + 5, height=96, width=64, steps=20, guidance_scale=1.0),
    "image": dict(kind="image_to_image", prompt="a 3d icon of a green apple on pink", negative_prompt="", seed=42, height=96, width=96, steps=20, guidance_scale=5.0, strength=0.6),
    "inpaint": dict(kind="inpaint", prompt="a 3d icon of a heart on a sky blue background", negative_prompt="", seed=99, height=96, width=96, steps=20, guidance_scale=5.0, strength=1.0),
    "inpaint_part": dict(kind="inpaint", prompt="a 3d icon of a heart on a sky blue background", negative_prompt="", seed=99, height=96, width=96, steps=20, guidance_scale=5.0, strength=0.7),
}
# the same in few steps, for the GPU's software drivers, which take a second for each
CASES |= {"native_4": CASES["native"] | {"steps": 4}, "image_3": CASES["image"] | {"steps": 6, "strength": 0.5}, "inpaint_4": CASES["inpaint"] | {"steps": 4}}
TOME = {"odd_attn": ((13, 11), dict(ratio=0.5, max_downsample=1)),
        "odd_all": ((25, 23), dict(ratio=0.5, max_downsample=2, merge_crossattn=True, merge_mlp=True)),
        "all_2": ((24, 24), dict(ratio=0.5, max_downsample=2, merge_crossattn=True, merge_mlp=True)),
        "most": ((24, 24), dict(ratio=0.75, max_downsample=4)),
        "cells_3x2": ((24, 20), dict(ratio=0.4, max_downsample=1, sx=3, sy=2, merge_mlp=True))}


def pipelines(pipe):
    parts = dict(pipe.components, requires_safety_checker=False)
    pipes = {"text_to_image": pipe, "image_to_image": StableDiffusionImg2ImgPipeline(**parts), "inpaint": StableDiffusionInpaintPipeline(**parts)}
    for p in pipes.values():
        p.set_progress_bar_config(disable=True)
    return pipes


def draw(pipes, c, x):
    """-> the picture, and the latents after each step"""
    image, mask = (Image.fromarray(x[k].numpy()) for k in ("image.init", "inpaint.mask"))
    k = {a: c[a] for a in ("prompt", "negative_prompt", "guidance_scale")}
    if c["kind"] == "text_to_image":
        k |= {"height": c["height"], "width": c["width"]}
    else:
        k |= {"image": image, "strength": c["strength"]}
    if c["kind"] == "inpaint":
        k |= {"mask_image": mask, "height": 96, "width": 96}
    got = []
    each = lambda p, i, t, kw: got.append(kw["latents"].clone()) or {}
    out = pipes[c["kind"]](num_inference_steps=c["steps"], generator=torch.Generator().manual_seed(c["seed"]), output_type="np", callback_on_step_end=each, **k)
    return (torch.from_numpy(out.images[0]) * 255).round().to(torch.uint8), got


def main():
    pipe = StableDiffusionPipeline.from_pretrained(EMOJI, safety_checker=None, torch_dtype=torch.float32)
    pipes = pipelines(pipe)
    t = torch.tensor(481)
    prompt, empty = pipe.encode_prompt(PROMPT, "cpu", 1, True, "")
    context = torch.cat([prompt, empty])
    x = {"context": context}
    info = {"notes": NOTES, "cases": CASES, "tome": {}}
    first = torch.from_numpy(np.array(pipe(PROMPT, num_inference_steps=20, guidance_scale=5.0, generator=torch.Generator().manual_seed(3), height=96, width=96).images[0]))
    x["image.init"] = first
    yy, xx = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    x["inpaint.mask"] = (((yy - 50) ** 2 + (xx - 44) ** 2 < 30 ** 2) * 255).to(torch.uint8)
    for name, (size, options) in TOME.items():
        seed, blocks = clear_of_ties(pipe, options, (2, 4, *size), t, context, range(200, 230))
        gap = min(min(b["gap_best_second"], b["gap_edge"]) for b in blocks)
        assert gap > 5e-6, (name, gap)
        x[f"tome.{name}.sample"] = randn(2, 4, *size, seed=seed)
        info["tome"][name] = dict({"sx": 2, "sy": 2, "merge_attn": True, "merge_crossattn": False, "merge_mlp": False, "use_rand": False}, **options, seed=seed, blocks=blocks)

    def compute(_, x):
        y = {}
        for name, (size, options) in TOME.items():
            y[f"tome.{name}.output"] = merged_unet(pipe, options, x[f"tome.{name}.sample"], t, x["context"])
        for name, c in CASES.items():
            y[f"{name}.image"], got = draw(pipes, c, x)
            y[f"{name}.latents_1"], y[f"{name}.latents"] = got[0], got[-1]
            info["cases"][name]["steps_run"] = len(got)
        return y
    write(f"{HERE}/emoji", pipe, x, compute, info)
    stored = load_file(f"{HERE}/emoji.safetensors")
    for name, c in CASES.items():
        diff = float((by_hand(pipe, c, x) - stored[f"{name}.latents"]).abs().max())
        assert diff < 1e-4, (name, diff, "the notes do not describe what the pipeline does")


def by_hand(pipe, c, x):
    """The notes above as a loop, to prove them."""
    g, s, f = torch.Generator().manual_seed(c["seed"]), pipe.scheduler, 4
    shape = (1, 4, c["height"] // f, c["width"] // f)
    prompt, empty = pipe.encode_prompt(c["prompt"], "cpu", 1, True, c["negative_prompt"])
    s.set_timesteps(c["steps"])
    strength = c.get("strength", 1.0)
    ts = s.timesteps[c["steps"] - min(int(c["steps"] * strength), c["steps"]):]
    if c["kind"] != "text_to_image":
        p = pipe.vae.encode((x["image.init"].float() / 255 * 2 - 1).permute(2, 0, 1)[None]).latent_dist
        init = (p.mean + (p.logvar / 2).exp() * torch.randn(shape, generator=g)) * pipe.vae.config.scaling_factor
    noise = torch.randn(shape, generator=g)
    plain = c["kind"] == "text_to_image" or (c["kind"] == "inpaint" and strength == 1.0)
    z = noise if plain else s.add_noise(init, noise, ts[:1])
    mask = (x["inpaint.mask"][::f, ::f] >= 128).float()
    for i, t in enumerate(ts):
        e_uncond, e = pipe.unet(torch.cat([z, z]), t, torch.cat([empty, prompt])).sample.chunk(2)
        z = s.step(e_uncond + c["guidance_scale"] * (e - e_uncond), t, z).prev_sample
        if c["kind"] == "inpaint":
            kept = s.add_noise(init, noise, ts[i + 1: i + 2]) if i + 1 < len(ts) else init
            z = mask * z + (1 - mask) * kept
    return z


if __name__ == "__main__":
    main()
