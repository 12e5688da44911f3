"""Small diffusers folders with random weights, and their goldens: python3 make_models.py [name ...]
Shapes as they are met: sd15_small with the files of SD 1.5's time, sd2_small with those of SD 2.1's, odd_small as diffusers and
transformers save today, lcm_small a latent consistency model. Each gets golden.safetensors and golden.json (conventions under notes, noise_floor: see README.md)."""
import argparse, json, os, shutil
import torch
from diffusers import (AutoencoderKL, DDIMScheduler, EulerAncestralDiscreteScheduler, LatentConsistencyModelPipeline, LCMScheduler, PNDMScheduler,
                       StableDiffusionPipeline, UNet2DConditionModel)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from common import EMOJI, HERE, clear_of_ties, merged_unet, randn, write

CD, D, CU, U = "CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"
MERGES = 96  # of the emoji tokenizer's: enough for a few whole words
BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)
ATTN = dict(ratio=0.5, max_downsample=1)
ALL = dict(ratio=0.5, max_downsample=2, merge_crossattn=True, merge_mlp=True)
# size: latents of the network goldens; image: of the VAE's; steps: latents, guidance and number of the sampler's trajectory
MODELS = {
    "sd15_small": dict(
        half=True, pad="<|endoftext|>", positions=77, size=(16, 24), image=(48, 64), steps=(8, 16, 4, 7.5), tome={"attn": ATTN, "all": ALL},
        unet=dict(sample_size=16, block_out_channels=[40, 16, 16, 24], down_block_types=[CD, CD, CD, D], up_block_types=[U, CU, CU, CU],
                  layers_per_block=2, attention_head_dim=1, norm_num_groups=8),
        vae=dict(sample_size=128, block_out_channels=[8, 8, 16, 16], layers_per_block=2, norm_num_groups=4),
        text=dict(hidden_size=64, intermediate_size=128, num_attention_heads=2, num_hidden_layers=2, hidden_act="quick_gelu"),
        scheduler=lambda: PNDMScheduler(**BETAS, skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False)),
    "sd2_small": dict(
        half=True, pad="!", positions=77, size=(16, 16), image=(32, 48), steps=(12, 8, 4, 5.0), tome={"attn": ATTN, "all": ALL},
        unet=dict(sample_size=16, block_out_channels=[16, 48, 32], down_block_types=[CD, CD, D], up_block_types=[U, CU, CU],
                  layers_per_block=1, attention_head_dim=[1, 3, 2], norm_num_groups=8, use_linear_projection=True, dual_cross_attention=False,
                  num_class_embeds=None, only_cross_attention=False, upcast_attention=True),
        vae=dict(sample_size=64, block_out_channels=[8, 16, 24], layers_per_block=1, norm_num_groups=4, scaling_factor=0.18215),
        # SD 2.x ships the encoder with its last layer left out: 23 of 24; nothing is skipped at run time
        text=dict(hidden_size=64, intermediate_size=128, num_attention_heads=2, num_hidden_layers=3, hidden_act="gelu"),
        scheduler=lambda: DDIMScheduler(**BETAS, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False, steps_offset=1)),
    "odd_small": dict(
        half=False, pad="<|endoftext|>", positions=40, size=(13, 11), image=(56, 72), steps=(7, 9, 4, 3.0),
        tome={"attn": dict(ratio=0.5, max_downsample=2), "all": dict(ALL, max_downsample=4, ratio=0.3, sx=3)},
        unet=dict(sample_size=[7, 9], block_out_channels=[8, 24, 32], down_block_types=[D, CD, CD], up_block_types=[CU, CU, U],
                  layers_per_block=1, attention_head_dim=2, norm_num_groups=4, transformer_layers_per_block=1, only_cross_attention=False),
        vae=dict(sample_size=56, block_out_channels=[6, 6, 9, 12], layers_per_block=1, norm_num_groups=3, scaling_factor=0.5),
        text=dict(hidden_size=32, intermediate_size=64, num_attention_heads=1, num_hidden_layers=1, hidden_act="quick_gelu"),
        scheduler=lambda: EulerAncestralDiscreteScheduler(**BETAS, timestep_spacing="linspace", steps_offset=1)),
    "lcm_small": dict(
        half=True, pad="<|endoftext|>", positions=24, size=(8, 12), image=(16, 24), steps=(8, 12, 4, 8.5), tome={"attn": ATTN, "all": ALL}, time_cond=True,
        unet=dict(sample_size=8, block_out_channels=[16, 24], down_block_types=[CD, D], up_block_types=[U, CU], layers_per_block=1, attention_head_dim=2,
                  norm_num_groups=8, time_cond_proj_dim=256),
        vae=dict(sample_size=16, block_out_channels=[8, 8], layers_per_block=1, norm_num_groups=4),
        text=dict(hidden_size=32, intermediate_size=64, num_attention_heads=2, num_hidden_layers=1, hidden_act="quick_gelu"),
        scheduler=lambda: LCMScheduler(**BETAS, set_alpha_to_one=False, steps_offset=1)),
}
PROMPT = "a 3d icon of a Red apple, don't \u2026"
NOTES = {
    "unet": "unet.sample [2, 4, h, w] with context = text.last_hidden_state (prompt, empty prompt); unet.output_i is for unet.timesteps[i], the same for both",
    "vae": "decode_input is not divided by scaling_factor; encode_mean and encode_logvar are the posterior's, not multiplied by it",
    "steps": "diffusers' pipeline with latents = steps.noise (not yet multiplied by init_noise_sigma): steps.latents[i] is x after call i of "
             "scheduler.step at steps.timesteps[i]; guidance e_uncond + g (e_cond - e_uncond); steps.step_noise[i] is what call i draws, if it draws",
    "lcm": "unet.output_i is with timestep_cond = unet.timestep_cond, which embeds the trajectory's guidance scale; tome.* is without. The trajectory is "
           "LatentConsistencyModelPipeline's, all noise drawn from the generator of step_seed; steps.denoised is its result, steps.noise and steps.step_noise do not exist",
    "tome": "tomesd's patch with use_rand False and stable order, timestep unet.timesteps[0], context as above; blocks in the order of execution"}


def random_weights(net, seed):
    """Norms and biases that matter, attention that is not uniform, and ends that diffusers would leave at zero."""
    g = torch.Generator().manual_seed(seed)
    for name, p in sorted(net.named_parameters()):
        r = torch.randn(p.shape, generator=g)
        if p.dim() == 1:
            p.copy_(0.1 * r + (1.0 if "norm" in name and name.endswith("weight") else 0.0))
        elif "embedding" in name and "time" not in name:
            p.copy_(r * 0.5)
        else:
            fan = p[0].numel()
            sharp = any(s in name for s in ("to_q", "to_k", "q_proj", "k_proj"))
            p.copy_(r * (1.6 if sharp else 1.0) / fan ** 0.5)
    return net.eval()


def save_tokenizer(folder, pad, positions):
    """CLIP's 512 byte symbols, a few merges and the two special tokens, in the files that CLIP checkpoints have."""
    vocab = list(json.load(open(f"{EMOJI}/tokenizer/vocab.json")))
    merges = open(f"{EMOJI}/tokenizer/merges.txt").read().split("\n")[: MERGES + 1]
    shutil.copytree(f"{EMOJI}/tokenizer", folder)
    tokens = vocab[: 512 + MERGES] + ["<|startoftext|>", "<|endoftext|>"]
    json.dump({t: i for i, t in enumerate(tokens)}, open(f"{folder}/vocab.json", "w"), ensure_ascii=True)
    open(f"{folder}/merges.txt", "w").write("\n".join(merges) + "\n")
    for name, change in (("tokenizer_config.json", {"model_max_length": positions, "pad_token": pad}), ("special_tokens_map.json", {"pad_token": pad})):
        j = dict(json.load(open(f"{folder}/{name}")), **change)
        json.dump(j, open(f"{folder}/{name}", "w"), indent=2)
    return len(tokens)


def edit(path, change):
    j = json.load(open(path))
    change(j)
    json.dump(j, open(path, "w"), indent=2)


def keep(*names):
    def change(j):
        for k in [k for k in j if k not in names and not k.startswith("_")]:
            del j[k]
    return change


def rewrite(path, f):
    save_file({n: t.contiguous() for k, v in load_file(path).items() for n, t in f(k, v)}, path, {"format": "pt"})


def age(folder, name):
    """Turns what is saved today into the files that the checkpoints of the time consist of."""
    text = f"{folder}/text_encoder/model.safetensors"
    rewrite(text, lambda k, v: [("text_model." + k, v)])
    if name == "sd15_small":
        n = json.load(open(f"{folder}/text_encoder/config.json"))["max_position_embeddings"]
        rewrite(text, lambda k, v: [(k, v)] + ([("text_model.embeddings.position_ids", torch.arange(n)[None])] if "position_embedding" in k else []))
        edit(f"{folder}/text_encoder/config.json", lambda j: (j.update(bos_token_id=0, eos_token_id=2, pad_token_id=1, torch_dtype="float32"), j.pop("dtype", 0)))
        old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

        def vae_name(k, v):
            for new, o in old.items():
                k = k.replace(f"attentions.0.{new}.", f"attentions.0.{o}.")
            return [(k, v)]
        rewrite(f"{folder}/vae/diffusion_pytorch_model.safetensors", vae_name)
        common = ("act_fn", "block_out_channels", "down_block_types", "up_block_types", "in_channels", "out_channels", "layers_per_block",
                  "norm_num_groups", "sample_size")
        edit(f"{folder}/vae/config.json", keep(*common, "latent_channels"))
        edit(f"{folder}/unet/config.json", keep(*common, "attention_head_dim", "center_input_sample", "cross_attention_dim", "downsample_padding",
                                                "flip_sin_to_cos", "freq_shift", "mid_block_scale_factor", "norm_eps"))
        edit(f"{folder}/scheduler/scheduler_config.json", lambda j: (keep(
            "beta_end", "beta_schedule", "beta_start", "num_train_timesteps", "set_alpha_to_one", "skip_prk_steps", "steps_offset", "trained_betas")(j),
            j.update(clip_sample=False)))
        edit(f"{folder}/model_index.json", lambda j: (keep("feature_extractor", "safety_checker", "scheduler", "text_encoder", "tokenizer", "unet", "vae")(j)))


def build(name):
    m = MODELS[name]
    folder = f"{HERE}/{name}"
    shutil.rmtree(folder, ignore_errors=True)
    vocab = save_tokenizer(f"{folder}/tokenizer", m["pad"], m["positions"])
    n = len(m["vae"]["block_out_channels"])
    unet = random_weights(UNet2DConditionModel(cross_attention_dim=m["text"]["hidden_size"], **m["unet"]), 1)
    vae = random_weights(AutoencoderKL(down_block_types=["DownEncoderBlock2D"] * n, up_block_types=["UpDecoderBlock2D"] * n, **m["vae"]), 2)
    text = random_weights(CLIPTextModel(CLIPTextConfig(
        vocab_size=vocab, max_position_embeddings=m["positions"], projection_dim=m["text"]["hidden_size"], bos_token_id=vocab - 2, eos_token_id=vocab - 1,
        pad_token_id=vocab - 1, **m["text"])), 3)
    tokenizer = CLIPTokenizer.from_pretrained(f"{folder}/tokenizer")
    cls = LatentConsistencyModelPipeline if "time_cond" in m else StableDiffusionPipeline
    pipe = cls(vae, text, tokenizer, unet, m["scheduler"](), None, None, requires_safety_checker=False)
    if m["half"]:
        pipe.to(torch.float16)
    kept = f"{folder}/tokenizer"
    if name == "odd_small":  # all as today's versions save it: tokenizer.json alone, names without text_model.
        shutil.rmtree(kept)
        pipe.save_pretrained(folder)
        edit(f"{kept}/tokenizer_config.json", lambda j: [j.pop(k, 0) for k in ("is_local", "local_files_only")])
    else:
        shutil.move(kept, kept + "_")
        pipe.save_pretrained(folder)
        shutil.rmtree(kept)
        shutil.move(kept + "_", kept)
        age(folder, name)
    for sub in ("unet", "vae", "text_encoder"):  # no path of the machine in a committed file
        edit(f"{folder}/{sub}/config.json", lambda j: j.pop("_name_or_path", 0))
    edit(f"{folder}/model_index.json", lambda j: j.pop("_name_or_path", 0))


def goldens(name):
    m = MODELS[name]
    folder = f"{HERE}/{name}"
    lcm = "time_cond" in m
    cls = LatentConsistencyModelPipeline if lcm else StableDiffusionPipeline
    pipe = cls.from_pretrained(folder, safety_checker=None, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    (h, w), (ih, iw), (sh, sw, count, guidance) = m["size"], m["image"], m["steps"]
    f = 2 ** (len(m["vae"]["block_out_channels"]) - 1)
    tok = pipe.tokenizer
    ids = tok([PROMPT, ""], padding="max_length", max_length=tok.model_max_length, truncation=True, return_tensors="pt").input_ids
    timesteps = torch.tensor([481, 21])
    x = {"text.input_ids": ids, "unet.sample": randn(2, 4, h, w, seed=11), "unet.timesteps": timesteps, "vae.decode_input": randn(1, 4, ih // f, iw // f, seed=12),
         "vae.encode_input": randn(1, 3, ih, iw, seed=13).mul(0.5).clamp(-1, 1), "steps.noise": randn(1, 4, sh, sw, seed=14)}
    if lcm:
        del x["steps.noise"]
        x["unet.timestep_cond"] = pipe.get_guidance_scale_embedding(torch.tensor([guidance - 1] * 2), embedding_dim=pipe.unet.config.time_cond_proj_dim)
    info = {"notes": {k: v for k, v in NOTES.items() if k != "lcm" or lcm}, "prompt": PROMPT, "negative_prompt": "", "steps": count, "guidance_scale": guidance, "step_seed": 15, "tome": {}}
    context = pipe.text_encoder(ids)[0]
    for case, options in m["tome"].items():
        seed, blocks = clear_of_ties(pipe, options, (2, 4, h, w), timesteps[0], context, range(100, 130))
        x[f"tome.{case}.sample"] = randn(2, 4, h, w, seed=seed)
        info["tome"][case] = dict({"sx": 2, "sy": 2, "merge_attn": True, "merge_crossattn": False, "merge_mlp": False, "use_rand": False}, **options, seed=seed, blocks=blocks)
        assert len(blocks) and min(min(b["gap_best_second"], b["gap_edge"]) for b in blocks) > 1e-5, (name, case, blocks)

    def compute(pipe, x):
        y = {"text.last_hidden_state": pipe.text_encoder(ids)[0]}
        ctx = y["text.last_hidden_state"]
        for i, t in enumerate(timesteps):
            y[f"unet.output_{i}"] = pipe.unet(x["unet.sample"], t, ctx, timestep_cond=x.get("unet.timestep_cond")).sample
        for case, options in m["tome"].items():
            s = x[f"tome.{case}.sample"]
            y[f"tome.{case}.output"] = merged_unet(pipe, options, s, timesteps[0], ctx)
            y[f"tome.{case}.output_without_merging"] = pipe.unet(s, timesteps[0], ctx).sample
        y["vae.decode_output"] = pipe.vae.decode(x["vae.decode_input"]).sample
        posterior = pipe.vae.encode(x["vae.encode_input"]).latent_dist
        y["vae.encode_mean"], y["vae.encode_logvar"] = posterior.mean, posterior.logvar
        got, ts = [], []

        def each(p, i, t, k):
            got.append(k["latents"].clone()); ts.append(torch.as_tensor(t).reshape(()))
            return {}
        given = {} if lcm else {"latents": x["steps.noise"].clone()}
        result = pipe(PROMPT, num_inference_steps=count, guidance_scale=guidance, height=sh * f, width=sw * f, output_type="latent",
                      generator=torch.Generator().manual_seed(info["step_seed"]), callback_on_step_end=each, **given).images
        if lcm:
            y["steps.denoised"] = result
        y["steps.latents"], y["steps.timesteps"] = torch.stack(got), torch.stack(ts)
        return y
    if name == "odd_small":
        g = torch.Generator().manual_seed(info["step_seed"])
        x["steps.step_noise"] = torch.stack([torch.randn(1, 4, sh, sw, generator=g) for _ in range(count)])
    write(f"{folder}/golden", pipe, x, compute, info)


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("names", nargs="*", default=list(MODELS))
    for name in ap.parse_args().names or list(MODELS):
        build(name)
        goldens(name)
        size = sum(os.path.getsize(os.path.join(r, f)) for r, _, fs in os.walk(f"{HERE}/{name}") for f in fs)
        print(f"{name}: {size / 1e6:.2f} MB")
