"""Loads the folder with diffusers and transformers themselves and compares with the goldens:
python3 check_with_diffusers.py [model dir] [--golden dir] [--threads 1]
Prints the largest difference of each tensor; ends with 1 if one is beyond its limit. Versions: tests/goldens/requirements.txt."""
import argparse, json, os, sys
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file

here = os.path.dirname(os.path.abspath(__file__))
ap = argparse.ArgumentParser()
ap.add_argument("model", nargs="?", default=os.path.dirname(here))
ap.add_argument("--golden", help="default: <model dir>/golden")
ap.add_argument("--threads", type=int, default=1)
a = ap.parse_args()
torch.set_num_threads(a.threads)
torch.set_grad_enabled(False)
golden = a.golden or os.path.join(a.model, "golden")
G = load_file(f"{golden}/golden.safetensors")
J = json.load(open(f"{golden}/golden.json"))
failed = []


def line(name, diff, limit):
    print(f"{name:38} max |difference| {diff:.3g}, limit {limit:g}{'' if diff <= limit else '   FAILED'}")
    if not diff <= limit:
        failed.append(name)


def compare(name, got, limit):
    want = G[name]
    assert got.shape == want.shape, (name, got.shape, want.shape)
    line(name, float((got.double() - want.double()).abs().max()), limit)


# Names: every tensor of the files is one that the classes know, and none is missing.
pipe, info = None, {}
for sub, cls in (("unet", "UNet2DConditionModel"), ("vae", "AutoencoderKL"), ("text_encoder", "CLIPTextModel")):
    module = __import__("transformers" if sub == "text_encoder" else "diffusers")
    _, info = getattr(module, cls).from_pretrained(a.model, subfolder=sub, output_loading_info=True)
    wrong = {k: sorted(v) for k, v in info.items() if v and k.endswith("_keys")}
    print(f"{sub:38} {'every name and shape fits' if not wrong else wrong}")
    if wrong:
        failed.append(sub)

pipe = StableDiffusionPipeline.from_pretrained(a.model, safety_checker=None, torch_dtype=torch.float32)
pipe.set_progress_bar_config(disable=True)
n = pipe.tokenizer.model_max_length
tokens = lambda p: pipe.tokenizer(p, padding="max_length", max_length=n, truncation=True).input_ids
wrong = [(c["prompt"], c["ids"], tokens(c["prompt"])) for c in J["tokenizer"] if c["ids"] != tokens(c["prompt"])]
print(f"{'tokenizer (' + type(pipe.tokenizer).__mro__[1].__name__ + ')':38} {len(J['tokenizer'])} prompts, {len(wrong)} differ {wrong or ''}")
failed += wrong

ctx = pipe.text_encoder(G["text.input_ids"])[0]
compare("text.last_hidden_state", ctx, 2e-5)
ctx = G["text.last_hidden_state"]
compare("unet.output", pipe.unet(G["unet.sample"], G["unet.timestep"], ctx).sample, 5e-5)

scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
d = J["ddim"]
scheduler.set_timesteps(d["steps"])
compare("ddim.timesteps", scheduler.timesteps, 0)
prompt, empty = pipe.encode_prompt(d["prompt"], "cpu", 1, True, d["negative_prompt"])
x = G["ddim.noise"]
for i, t in enumerate(scheduler.timesteps):
    e_uncond, e_cond = pipe.unet(torch.cat([x, x]), t, torch.cat([empty, prompt])).sample.chunk(2)
    x = scheduler.step(e_uncond + d["guidance_scale"] * (e_cond - e_uncond), t, x).prev_sample
    if f"ddim.latents_after_step_{i + 1}" in G:
        compare(f"ddim.latents_after_step_{i + 1}", x, 2e-4)
compare("vae.decode_output", pipe.vae.decode(G["vae.decode_input"]).sample, 5e-5)
posterior = pipe.vae.encode(G["vae.encode_input"]).latent_dist
compare("vae.encode_mean", posterior.mean, 2e-4)
compare("vae.encode_logvar", posterior.logvar, 2e-4)
image = pipe(d["prompt"], num_inference_steps=d["steps"], guidance_scale=d["guidance_scale"], latents=G["ddim.noise"].clone(),
             height=J["image_size"], width=J["image_size"], output_type="np").images[0]
image = (torch.from_numpy(image) * 255).round()
diff = (image - G["image.uint8"].float()).abs()
line("image.uint8, the pipeline's own", float(diff.max()), 1)
print(f"{'':38} {int((diff > 0).sum())} of {diff.numel()} values differ")

# token merging: tomesd's own patch of diffusers' blocks, with the destinations in ascending order (see make_golden.py)
try:
    import tomesd
except ImportError:
    print("tomesd is not installed: its goldens were not compared")
else:
    from unittest import mock
    stable = lambda t, dim=-1, descending=False: torch.sort(t, dim=dim, descending=descending, stable=True).indices
    with mock.patch.object(torch.Tensor, "argsort", stable):
        for c in J["tome_unet"]:
            k, size = f"tome_unet.{c['name']}", J["latent_size"]
            tomesd.apply_patch(pipe, ratio=c["ratio"], max_downsample=c["max_downsample"], sx=c["sx"], sy=c["sy"], use_rand=not c["no_rand"],
                               merge_attn=c["merge_attn"], merge_crossattn=c["merge_crossattn"], merge_mlp=c["merge_mlp"])
            t = torch.tensor(c["timestep"])
            compare(f"{k}.output", pipe.unet(G[f"{k}.sample"], t, ctx).sample, 1e-4)
            tomesd.remove_patch(pipe)
            compare(f"{k}.output_without_merging", pipe.unet(G[f"{k}.sample"], t, ctx).sample, 1e-4)
print("FAILED: " + str(failed) if failed else "all within their limits")
sys.exit(bool(failed))
