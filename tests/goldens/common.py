"""What the golden scripts share: paths, the three precisions of every tensor, stable token merging with its gaps."""
import contextlib, json, math, os
from unittest import mock
import diffusers.models.embeddings as embeddings
import torch
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
EMOJI = os.path.normpath(os.path.join(HERE, "../../models/emoji"))
torch.set_grad_enabled(False)
torch.set_num_threads(1)


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def timestep_embedding64(timesteps, dim, flip_sin_to_cos=False, downscale_freq_shift=1, scale=1, max_period=10000):
    """diffusers' function in float64: theirs rounds frequency times step to float32, up to 6e-5 rad at step 999."""
    half = dim // 2
    freq = torch.exp(-math.log(max_period) * torch.arange(half, dtype=torch.float64) / (half - downscale_freq_shift))
    a = scale * timesteps[:, None].double() * freq[None]
    return torch.cat([a.cos(), a.sin()] if flip_sin_to_cos else [a.sin(), a.cos()], -1)


@contextlib.contextmanager
def precision(pipe, dtype, threads):
    """The networks in dtype; noise is always drawn in float32, so that the same numbers come in both."""
    randn_ = torch.randn

    def draw(*a, dtype=None, **k):
        return randn_(*a, **k).to(dtype or torch.float32)
    nets = [getattr(pipe, n) for n in ("unet", "vae", "text_encoder")]
    torch.set_num_threads(threads)
    for n in nets:
        n.to(dtype)
    with contextlib.ExitStack() as s:
        if dtype == torch.float64:
            s.enter_context(mock.patch.object(embeddings, "get_timestep_embedding", timestep_embedding64))
            s.enter_context(mock.patch.object(torch, "randn", draw))
        yield
    for n in nets:
        n.to(torch.float32)  # exact: the weights were float32 or less
    torch.set_num_threads(1)


def write(path, pipe, inputs, compute, info):
    """compute(pipe, inputs in some dtype) -> tensors, in float32 on one and on two threads and in float64; stores the first
    and, as noise_floor, how far the others are from it."""
    runs = {}
    for name, dtype, threads in (("f32", torch.float32, 1), ("threads", torch.float32, 2), ("f64", torch.float64, 1)):
        with precision(pipe, dtype, threads):
            runs[name] = compute(pipe, {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.items()})
    dist = lambda a, b: float((a.double() - b.double()).abs().max()) if a.numel() else 0.0
    info["noise_floor"] = {k: {"max_abs": round(float(v.abs().max()), 6), "f32_f64": float(f"{dist(v, runs['f64'][k]):.3g}"),
                               "f64_rms": float(f"{float((v.double() - runs['f64'][k].double()).pow(2).mean().sqrt()):.3g}"),
                               "threads_1_2": float(f"{dist(v, runs['threads'][k]):.3g}")}
                           for k, v in runs["f32"].items() if v.is_floating_point() or v.dtype == torch.uint8}
    tensors = {k: v.contiguous().float() if v.is_floating_point() else v.contiguous() for k, v in {**inputs, **runs["f32"]}.items()}
    info["tensors"] = {k: list(v.shape) for k, v in sorted(tensors.items())}
    save_file(tensors, path + ".safetensors")
    text = json.dumps(info, indent=1)
    with open(path + ".json", "w") as f:
        f.write(text + "\n")
    print(f"{path}: {os.path.getsize(path + '.safetensors')} bytes")
    for k, v in info["noise_floor"].items():
        print(f"  {k:34} {str(list(runs['f32'][k].shape)):18} {v}")


@contextlib.contextmanager
def stable_tomesd(log=None):
    """tomesd with destinations and sources in ascending order (its argsort is not stable by contract). Appends to log, per
    merged block: the grid, r, and the distances to the nearest ties in float64 (best against second best destination of any
    token; last merged against first kept)."""
    import tomesd
    plain = tomesd.merge.bipartite_soft_matching_random2d
    stable = lambda t, dim=-1, descending=False: torch.sort(t, dim=dim, descending=descending, stable=True).indices

    def matching(metric, w, h, sx, sy, r, *a, **k):
        if log is not None and r > 0:
            cell = torch.zeros(h, w, dtype=torch.bool)
            cell[: h // sy * sy : sy, : w // sx * sx : sx] = True  # no_rand: the top left of each whole cell
            m = metric.double() / metric.double().norm(dim=-1, keepdim=True)
            s = m[:, ~cell.flatten()] @ m[:, cell.flatten()].transpose(1, 2)
            top = s.topk(2, dim=-1).values
            best = top[..., 0].sort(dim=-1, descending=True).values
            r_ = min(r, best.shape[1])
            edge = float((best[:, r_ - 1] - best[:, r_]).min()) if r_ < best.shape[1] else 1.0
            log.append({"grid": [h, w], "r": r_, "gap_best_second": float((top[..., 0] - top[..., 1]).min()), "gap_edge": edge})
        return plain(metric, w, h, sx, sy, r, *a, **k)
    with mock.patch.object(torch.Tensor, "argsort", stable), mock.patch.object(tomesd.merge, "bipartite_soft_matching_random2d", matching):
        yield tomesd


def merged_unet(pipe, options, sample, timestep, context, log=None):
    with stable_tomesd(log) as tomesd:
        tomesd.apply_patch(pipe, use_rand=False, **options)
        y = pipe.unet(sample, timestep, context).sample
        tomesd.remove_patch(pipe)
    return y


def clear_of_ties(pipe, options, shape, timestep, context, seeds):
    """The seed whose noise keeps farthest from ties -> seed, blocks."""
    def blocks(seed):
        log = []
        merged_unet(pipe, options, randn(*shape, seed=seed), timestep, context, log)
        return log
    gap = lambda b: min(min(x["gap_best_second"], x["gap_edge"]) for x in b)
    found = [(gap(b), s, b) for s in seeds for b in [blocks(s)]]
    best = max(found, key=lambda f: f[0])
    return best[1], best[2]
