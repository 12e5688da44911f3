"""Goldens of the backend's operations: torch.nn.functional and tomesd on tiny inputs.

    pip install torch tomesd safetensors
    python tests/goldens/make_ops.py

writes ops.safetensors, tensors `case/name`, feature maps channels-last. Last made with torch 2.15.0, tomesd 0.1.3.
"""

import os

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tomesd.merge import bipartite_soft_matching_random2d

torch.manual_seed(0)
out = {}


def put(case, **tensors):
    for name, t in tensors.items():
        out[f"{case}/{name}"] = t.contiguous()


def last(x):  # [B, C, H, W] -> [B, H, W, C]
    return x.permute(0, 2, 3, 1)


x, w, b = torch.randn(2, 5, 7), torch.randn(9, 7) / 3, torch.randn(9)
residual, row_bias = torch.randn(2, 5, 9), torch.randn(2, 9)
put("linear", x=x, w=w, b=b, residual=residual, row_bias=row_bias, y=F.linear(x, w, b))
put("linear", y_epilogue=F.silu(F.linear(x, w, b) + row_bias[:, None]) + residual)
for name, dtype in [("f16", torch.float16), ("bf16", torch.bfloat16)]:
    half = w.clone()
    half[0, :4] = torch.tensor([6e-8, -3e-5, 0.0, 65504.0])  # f16's subnormals, zero and largest
    half = half.to(dtype)
    put(f"linear_{name}", w=half, y=F.linear(x, half.float()))

x, w, b = torch.randn(2, 3, 6, 5), torch.randn(4, 3, 3, 3) / 5, torch.randn(4)
put("conv", x=last(x), w=w, b=b, same=last(F.conv2d(x, w, b, padding=1)))
put("conv", stride2=last(F.conv2d(x, w, b, padding=1, stride=2)))
put("conv", right_bottom=last(F.conv2d(F.pad(x, (0, 1, 0, 1)), w, b, stride=2)))
w1 = torch.randn(4, 3, 1, 1)
put("conv", w1=w1, one=last(F.conv2d(x, w1)))

x, w, b = torch.randn(2, 12, 4, 3) * 3 + 1, torch.randn(12), torch.randn(12)
put("group_norm", x=last(x), w=w, b=b, y=last(F.group_norm(x, 4, w, b, 1e-5)))
put("group_norm", silu=last(F.silu(F.group_norm(x, 4, w, b, 1e-5))))
x = torch.randn(2, 5, 12) * 3 + 1
put("layer_norm", x=x, y=F.layer_norm(x, (12,), w, b, 1e-5))


def heads(x):  # [B, N, 2 * D] -> [B, 2, N, D]
    return x.unflatten(-1, (2, -1)).transpose(1, 2)


q, k, v = torch.randn(2, 6, 8), torch.randn(2, 9, 8), torch.randn(2, 9, 8)
plain = F.scaled_dot_product_attention(heads(q), heads(k), heads(v))
put("attention", q=q, k=k, v=v, y=plain.transpose(1, 2).flatten(2))
causal = F.scaled_dot_product_attention(heads(q), heads(k[:, :6]), heads(v[:, :6]), is_causal=True, scale=0.3)
put("attention", causal=causal.transpose(1, 2).flatten(2))

x = torch.cat([torch.linspace(-12, 12, 97), torch.tensor([-100.0, 100.0, 1e-20])]).reshape(1, -1)
put("activation", x=x, silu=F.silu(x), gelu=F.gelu(x), quick_gelu=x * torch.sigmoid(1.702 * x))
x = torch.randn(2, 3, 10) * 2
put("geglu", x=x, y=x[..., :5] * F.gelu(x[..., 5:]))

x = torch.randn(2, 2, 4, 3)
put("upsample", x=last(x), even=last(F.interpolate(x, size=(8, 6), mode="nearest")))
put("upsample", odd=last(F.interpolate(x, size=(7, 5), mode="nearest")))

# A grid of 6 x 5 tokens in cells of 2 x 2, whose last column is in no cell; the draw is shared by the batch.
x, metric = torch.randn(2, 30, 4), torch.randn(2, 30, 6)
draw = lambda: torch.Generator().manual_seed(5)
rand = torch.randint(4, size=(3, 2, 1), generator=draw())
put("merge", x=x, metric=metric, rand=rand.flatten().expand(2, -1).to(torch.float32))
for r in [1, 11, 24]:
    for name, args in [("top_left", {"no_rand": True}), ("rand", {"generator": draw()})]:
        merge, unmerge = bipartite_soft_matching_random2d(metric, 5, 6, 2, 2, r, **args)
        put("merge", **{f"{name}_{r}": unmerge(merge(x))})

save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), "ops.safetensors"))
