"""Goldens of src/samplers: diffusers' schedulers and PyTorch's generator, run on made-up networks.

    pip install torch diffusers mpmath safetensors
    python tests/goldens/make_samplers.py

writes samplers.safetensors (trajectories, noise, timesteps; the runs' list is its metadata `runs`) and
samplers_math.json. Last made with torch 2.15.0, diffusers 0.42.1.
"""

import json
import math
import os
from types import SimpleNamespace

import mpmath
import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
)
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
N = 8  # elements of x

SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
tensors = {}
runs = []


def network(x, t):
    """The fake network, linear in x with a different mix per element; the test has the same."""
    j = torch.arange(N)
    bias = ((5 * j) % 7 - 3).float() / 16
    return 0.5 * x + 0.25 * x[(j + 3) % N] - (float(t) / 1000) * 0.125 * x[(j + 5) % N] + bias


def noise(key):
    """Any fixed numbers; small multiples of 2^-6, the same in f32 everywhere."""
    j = torch.arange(N)
    return (((j * 37 + key * 23 + 11) % 97).float() - 48) / 32


draws = 0


def fixed_noise(shape, **_):
    global draws
    draws += 1
    return noise(draws)


for module in (
    "scheduling_euler_ancestral_discrete",
    "scheduling_lcm",
    "scheduling_ddim",
):
    m = __import__(f"diffusers.schedulers.{module}", fromlist=["randn_tensor"])
    m.randn_tensor = fixed_noise


def run(sampler, cls, steps, config, **step_options):
    global draws
    draws = 0
    scheduler = cls(**config)
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)  # else a first timestep that occurs twice skips a noise level
    x = noise(0) * scheduler.init_noise_sigma
    trajectory = [x]
    denoised = []
    for t in timesteps:
        out = network(scheduler.scale_model_input(x, t), t)
        result = scheduler.step(out, t, x, return_dict=True, **step_options)
        x = result.prev_sample
        trajectory.append(x)
        x0 = getattr(result, "pred_original_sample", getattr(result, "denoised", None))
        if x0 is not None:
            denoised.append(x0)
    assert all(torch.isfinite(x).all() for x in trajectory), (sampler, steps, config)
    key = str(len(runs))
    # Long trajectories are kept every tenth step, and at the end.
    kept = [i for i in range(len(trajectory)) if steps <= 5 or i % 10 == 0 or i == len(trajectory) - 1]
    tensors[f"{key}.x"] = torch.stack([trajectory[i] for i in kept]).float()
    tensors[f"{key}.timesteps"] = timesteps.double()
    if hasattr(scheduler, "sigmas"):
        tensors[f"{key}.sigmas"] = scheduler.sigmas.float().clone()
    if denoised and steps <= 5:
        tensors[f"{key}.denoised"] = torch.stack(denoised).float()
    runs.append(
        dict(
            sampler=sampler,
            steps=steps,
            kept=kept,
            init=float(scheduler.init_noise_sigma),
            options=step_options,
            config=dict(_class_name=cls.__name__, **config),
        )
    )


def sweep():
    spacings = ("leading", "trailing", "linspace")
    classes = [
        ("ddim", DDIMScheduler, dict(clip_sample=False, set_alpha_to_one=False), {}),
        ("pndm", PNDMScheduler, dict(skip_prk_steps=True), {}),
        ("pndm", PNDMScheduler, dict(skip_prk_steps=False), {}),
        ("euler", EulerDiscreteScheduler, {}, {}),
        ("euler_a", EulerAncestralDiscreteScheduler, {}, {}),
        ("dpm++_2m", DPMSolverMultistepScheduler, {}, {}),
        ("dpm++_2m_karras", DPMSolverMultistepScheduler, dict(use_karras_sigmas=True), {}),
    ]
    for steps in (5, 20, 50):
        for prediction in ("epsilon", "v_prediction"):
            common = dict(**SD, steps_offset=1, prediction_type=prediction)
            for sampler, cls, own, options in classes:
                for spacing in spacings:
                    if sampler.endswith("karras") and spacing != "leading":
                        continue  # its timesteps come from the noise levels
                    run(sampler, cls, steps, dict(**common, **own, timestep_spacing=spacing), **options)
            run("lcm", LCMScheduler, steps, dict(**common))

    base = dict(**SD, steps_offset=1)
    # What differs from the common case, once each.
    run("ddim", DDIMScheduler, 5, dict(**base, clip_sample=False), eta=1.0)
    run("ddim", DDIMScheduler, 20, dict(**base, clip_sample=False, set_alpha_to_one=False), eta=0.3)
    run("ddim", DDIMScheduler, 5, dict(**base, clip_sample=False, prediction_type="sample"))
    run("ddim", DDIMScheduler, 5, dict(clip_sample=False))
    run("ddim", DDIMScheduler, 5, dict(clip_sample=False, beta_schedule="squaredcos_cap_v2"))
    zero_snr = dict(prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")
    run("ddim", DDIMScheduler, 5, dict(**SD, clip_sample=False, **zero_snr))
    run("euler", EulerDiscreteScheduler, 5, dict(**SD, **zero_snr))
    run("dpm++_2m", DPMSolverMultistepScheduler, 5, dict(**SD, **zero_snr))
    for steps in (5, 20):
        run("euler", EulerDiscreteScheduler, steps, dict(**base, use_karras_sigmas=True))
        run("euler", EulerDiscreteScheduler, steps, dict(**base, final_sigmas_type="sigma_min"))
        dpm = DPMSolverMultistepScheduler
        run("dpm++_2m", dpm, steps, dict(**base, final_sigmas_type="sigma_min"))
        run("dpm++_2m", dpm, steps, dict(**base, final_sigmas_type="sigma_min", lower_order_final=False))
        run("dpm++_2m", dpm, steps, dict(**base, final_sigmas_type="sigma_min", euler_at_final=True))
        cosine = dict(beta_schedule="squaredcos_cap_v2", lambda_min_clipped=-5.1)
        run("dpm++_2m", dpm, steps, dict(**cosine))
        run("dpm++_2m", dpm, steps, dict(**cosine, timestep_spacing="trailing"))
        run("dpm++_2m_karras", dpm, steps, dict(**cosine, use_karras_sigmas=True))
    run("dpm++_2m", DPMSolverMultistepScheduler, 5, dict(**base, prediction_type="sample"))
    run("euler", EulerDiscreteScheduler, 5, dict(**base, prediction_type="sample"))
    run("lcm", LCMScheduler, 4, dict(**base, original_inference_steps=20, timestep_scaling=0.01))
    run("pndm", PNDMScheduler, 5, dict(**base, skip_prk_steps=True, set_alpha_to_one=True))
    for steps in (1, 2, 3, 4):
        run("pndm", PNDMScheduler, steps, dict(**base, skip_prk_steps=True))
    run("ddim", DDIMScheduler, 1, dict(**base, clip_sample=False))
    run("dpm++_2m", DPMSolverMultistepScheduler, 1, dict(**base))
    run("euler_a", EulerAncestralDiscreteScheduler, 2, dict(**base))


image_runs = []
image_ends = []


def image_run(cls, config, steps, strength):
    """First and last x of image to image, and of inpainting with every other element kept, as diffusers' pipelines go. Returns the
    number of network calls."""
    global draws
    kept = torch.arange(N) % 2 == 0
    rows = []
    for inpaint in (False, True):
        draws = 0
        scheduler = cls(**config)
        scheduler.set_timesteps(steps)
        pipeline = SimpleNamespace(scheduler=scheduler)  # StableDiffusionInpaintPipeline's get_timesteps is the same
        timesteps, _ = StableDiffusionImg2ImgPipeline.get_timesteps(pipeline, steps, strength, "cpu")
        if inpaint and strength == 1.0:
            x = noise(0) * scheduler.init_noise_sigma
        else:
            x = scheduler.add_noise(noise(1000), noise(0), timesteps[:1])
        rows.append(x)
        for i, t in enumerate(timesteps):
            x = scheduler.step(network(scheduler.scale_model_input(x, t), t), t, x).prev_sample
            if inpaint:
                image = noise(1000)
                if i < len(timesteps) - 1:
                    image = scheduler.add_noise(image, noise(0), timesteps[i + 1 : i + 2])
                x = torch.where(kept, image, x)
        rows.append(x)
    assert all(torch.isfinite(x).all() for x in rows), (cls, config, steps, strength)
    image_ends.append(torch.stack(rows).float())
    return len(timesteps)


def image_to_image():
    usual = [(steps, strength) for steps in (5, 20, 50) for strength in (0.3, 0.6, 0.75, 1.0)]
    for sampler, cls, own, *more in (
        ("ddim", DDIMScheduler, dict(clip_sample=False, set_alpha_to_one=False)),
        ("pndm", PNDMScheduler, dict(skip_prk_steps=True), (2, 0.5), (3, 0.4), (10, 0.9)),  # 1 step left, 1 left, 1 cut
        ("pndm", PNDMScheduler, dict(skip_prk_steps=True, prediction_type="v_prediction", timestep_spacing="trailing")),
        ("pndm", PNDMScheduler, dict(skip_prk_steps=False)),
        ("euler", EulerDiscreteScheduler, {}),
        ("euler_a", EulerAncestralDiscreteScheduler, {}),
        ("dpm++_2m", DPMSolverMultistepScheduler, {}),
        # Of first order at its end only where the uncut run is short.
        ("dpm++_2m", DPMSolverMultistepScheduler, dict(final_sigmas_type="sigma_min"), (20, 0.05), (12, 0.5)),
        ("dpm++_2m_karras", DPMSolverMultistepScheduler, dict(use_karras_sigmas=True)),
        ("lcm", LCMScheduler, {}),
    ):
        config = dict(**SD, steps_offset=1, **own)
        cases = [(steps, strength, image_run(cls, config, steps, strength)) for steps, strength in usual + more]
        image_runs.append(dict(sampler=sampler, config=dict(_class_name=cls.__name__, **config), cases=cases))
    tensors["image"] = torch.stack(image_ends)


def fnv(data, h=0x811C9DC5):
    for byte in data:
        h = ((h ^ byte) * 0x01000193) & 0xFFFFFFFF
    return h


def all_timesteps():
    """A hash over the timesteps (f32) of every number of steps, per class and spacing."""
    hashes = {}
    for name, cls in (
        ("ddim", DDIMScheduler),
        ("pndm", PNDMScheduler),
        ("euler", EulerDiscreteScheduler),
        ("dpm++_2m", DPMSolverMultistepScheduler),
    ):
        for spacing in ("leading", "trailing", "linspace"):
            scheduler = cls(**SD, timestep_spacing=spacing, **({"skip_prk_steps": True} if name == "pndm" else {}))
            h = 0x811C9DC5
            for steps in range(1, 301):
                scheduler.set_timesteps(steps)
                timesteps = scheduler.timesteps.numpy().astype("<f4")
                if timesteps[-1] >= 0:  # see spacedTimesteps
                    h = fnv(timesteps.tobytes(), h)
            hashes[f"{name} {spacing}"] = h
    return hashes


def schedules():
    for name, config in (
        ("linear", {}),
        ("scaled_linear", SD),
        ("squaredcos_cap_v2", dict(beta_schedule="squaredcos_cap_v2")),
        ("zero_snr", dict(**SD, rescale_betas_zero_snr=True)),
    ):
        tensors[f"alphas.{name}"] = DDIMScheduler(**config).alphas_cumprod.float()


# Philox4x32-10 after Salmon et al. 2011, and cuRAND's Box-Muller, independent of the TypeScript.
def philox(counter, key):
    c, k = list(counter), list(key)
    for i in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


# The known answers that Random123 is published with (kat_vectors, philox4x32 10).
assert philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
assert philox([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
assert philox([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]) == [
    0xD16CFE09,
    0x94FDCCEB,
    0x5001E420,
    0x24126EA1,
]


def philox_randn(seed, count, offset=0):
    out = []
    for i in range(count):
        x, y = philox([offset, 0, i, 0], [seed & 0xFFFFFFFF, seed >> 32])[:2]
        u, v = (x + 0.5) / 2**32, (y + 0.5) / 2**32 * 2 * math.pi
        out.append(math.sqrt(-2 * math.log(u)) * math.sin(v))
    return torch.tensor(out, dtype=torch.float32)


def random():
    # 2304 and 16384 elements: the embedded model's latents at 96 pixels square and SD 1.5's at 512. Their ends and middles, and a sum.
    for seed in (0, 1, 42, 2**32 - 1, 2**32 + 7, 2**63 + 12345, 2**64 - 1):
        for count in (1, 2, 5, 15, 16, 17, 31, 64, 2304, 16384):
            z = torch.randn(count, generator=torch.Generator().manual_seed(seed))
            if count > 64:
                tensors[f"randn.{seed}.{count}.sum"] = z.double().abs().sum().reshape(1)
                z = torch.cat([z[:8], z[count // 2 : count // 2 + 8], z[-24:]])
            tensors[f"randn.{seed}.{count}"] = z
    tensors["randn.full"] = torch.randn(2304, generator=torch.Generator().manual_seed(1234))
    g = torch.Generator().manual_seed(3)
    for i, count in enumerate((3, 20, 4, 16, 1, 2)):  # one generator, mixed sizes
        tensors[f"randn.stream.{i}"] = torch.randn(count, generator=g)
    for seed in (0, 42, 2**32 + 7, 2**64 - 1):
        tensors[f"philox.{seed}"] = philox_randn(seed, 40)
        tensors[f"philox.{seed}.offset"] = philox_randn(seed, 8, offset=1)


def math_goldens():
    mpmath.mp.prec = 200
    rng = np.random.default_rng(7)
    exact = lambda f, *a: float(f(*[mpmath.mpf(x) for x in a]))  # noqa: E731
    xs = list(rng.uniform(-700, 709, 60)) + list(rng.uniform(-1, 1, 30)) + [1e-300, -1e-17, 0.34657, 0.34658, 709.7, -708.3]
    ls = list(2.0 ** rng.uniform(-1022, 1023, 60)) + list(rng.uniform(0.5, 2, 30))
    ls += [5e-324, 1e-310, 1.0000000000000002, 0.9999999999999999, 1.4142135623730951, 1.4142135623730954, 2.0**-24]
    ts = list(rng.uniform(-7, 7, 60)) + list(rng.uniform(-1e5, 1e5, 30))
    ts += [math.pi, math.pi / 2, math.pi / 4, 3 * math.pi / 4, 2 * math.pi, 1e-9, 355.0, 103993.0, 1.5e6]
    ps = list(zip(rng.uniform(0, 20, 60), rng.uniform(-8, 8, 60))) + [(14.61464, 1 / 7), (0.029167, 1 / 7), (2.0, 0.5)]
    ps += [(1.0000000001, 1e10), (1e300, 1.02), (1e-300, 1.02), (10.0, -3.0)]
    ps = [(float(a), float(b)) for a, b in ps]
    data = {
        "exp": [[float(x), exact(mpmath.exp, x)] for x in xs],
        "log": [[float(x), exact(mpmath.log, x)] for x in ls],
        "sin": [[float(x), exact(mpmath.sin, x)] for x in ts],
        "cos": [[float(x), exact(mpmath.cos, x)] for x in ts],
        "pow": [[a, b, exact(mpmath.power, a, b)] for a, b in ps],
    }
    with open(os.path.join(HERE, "samplers_math.json"), "w") as f:
        json.dump(data, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    sweep()
    image_to_image()
    schedules()
    random()
    math_goldens()
    metadata = {"runs": json.dumps(runs), "image_runs": json.dumps(image_runs), "timestep_hashes": json.dumps(all_timesteps())}
    save_file({k: v.contiguous() for k, v in tensors.items()}, os.path.join(HERE, "samplers.safetensors"), metadata)
