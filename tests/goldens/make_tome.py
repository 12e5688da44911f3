"""tomesd's matching at sizes that tile badly: python3 make_tome.py (torch, tomesd, safetensors)
Writes tome.safetensors and tome.json, in the form of the cases `tome` of models/emoji/golden/golden.json: merge() returns the
unmerged tokens in the order of unmerged_tokens, then the destinations. Order is compared where similarities lie apart enough."""
import json, os
import torch
from safetensors.torch import save_file
from common import HERE, stable_tomesd

CASES = [  # batch, h, w, channels, sx, sy, r, no_rand
    (1, 12, 135, 7, 2, 2, 700, False),  # 1080 px wide
    (2, 9, 15, 18, 2, 2, 60, True),
    (2, 15, 17, 6, 5, 1, 120, False),
    (1, 17, 13, 9, 1, 3, 70, False),
    (3, 8, 8, 5, 8, 8, 40, False),  # one destination
    (1, 2, 3, 4, 2, 2, 4, False),
    (2, 14, 10, 1, 2, 2, 30, True),  # one channel: similarities of exactly 1 and -1
    (1, 16, 16, 21, 2, 2, 192, False),
]


def main():
    tensors, info = {}, []
    for i, (b, h, w, c, sx, sy, r, no_rand) in enumerate(CASES):
        g = torch.Generator().manual_seed(1000 + i)
        metric, x = torch.randn(b, h * w, c, generator=g), torch.randn(b, h * w, c, generator=g)
        hsy, wsx = h // sy, w // sx
        seed = 2000 + i
        rand = torch.zeros(hsy, wsx, dtype=torch.int64) if no_rand else \
            torch.randint(sy * sx, (hsy, wsx, 1), generator=torch.Generator().manual_seed(seed))[..., 0]
        with stable_tomesd() as tomesd:
            merge, unmerge = tomesd.merge.bipartite_soft_matching_random2d(metric, w, h, sx, sy, r, no_rand, torch.Generator().manual_seed(seed))
            merged = merge(x)
            unmerged = unmerge(merged)
        # Row numbers, unmerged, are the row of each token.
        rows = unmerge(torch.arange(merged.shape[1], dtype=torch.float32)[None, :, None].expand(b, -1, 1))[..., 0].long()
        cell = torch.arange(hsy)[:, None] * sy * w + torch.arange(wsx)[None] * sx
        dst = (cell + rand // sx * w + rand % sx).flatten().sort().values
        kept = merged.shape[1] - len(dst)
        unm = torch.stack([torch.stack([(rows[k] == j).nonzero()[0, 0] for j in range(kept)]) if kept else torch.zeros(0, dtype=torch.int64) for k in range(b)])
        is_src = torch.ones(h * w, dtype=torch.bool)
        is_src[dst] = False
        m = metric.double() / metric.double().norm(dim=-1, keepdim=True)
        s = m[:, is_src] @ m[:, dst].transpose(1, 2)
        top = s.topk(min(2, len(dst)), dim=-1).values
        best = top[..., 0].sort(dim=-1, descending=True).values
        exact = c == 1
        gaps = 1.0 if exact else min(float((top[..., 0] - top[..., -1]).min()) if len(dst) > 1 else 1.0,
                                     float((best[:, h * w - merged.shape[1] - 1] - best[:, h * w - merged.shape[1]]).min()) if kept else 1.0)
        assert gaps > 2e-6, (i, gaps)
        order = exact or float((best[:, :-1] - best[:, 1:]).min()) > 2e-6
        for name, t in dict(metric=metric, input=x, rand_idx=rand.int(), dst_tokens=dst.int(), row_of=rows.int(), unmerged_tokens=unm.int(), merged=merged, unmerged=unmerged).items():
            tensors[f"tome.{i}.{name}"] = t.contiguous()
        info.append(dict(case=i, batch=b, h=h, w=w, channels=c, sx=sx, sy=sy, r_asked=r, r=h * w - merged.shape[1], no_rand=no_rand, compare="order" if order else "sets"))
    path = os.path.join(HERE, "tome")
    save_file(tensors, path + ".safetensors")
    with open(path + ".json", "w") as f:
        f.write(json.dumps({"tome": info}, indent=1) + "\n")
    print(os.path.getsize(path + ".safetensors"), [i["compare"] for i in info])


main()
