"""Traces networks that pnnx cannot convert, and the same ones written so that it can, to FOLDER/model.pt.

    python trace_lowered.py FOLDER attention|windows|response-norm leaked|native

Both forms have the same weights and give the same numbers. They end in the same layers that pnnx converts.
"""

import sys

import torch
import torch.nn.functional as F
from torch import nn

CHANNELS, HEADS, TOKENS, WINDOW = 192, 3, 14, 7


class Attention(nn.Module):
    """A transformer block with its fused projection: cut on five axes, or on three."""

    def __init__(self, native: bool) -> None:
        super().__init__()
        self.native = native
        self.norm = nn.LayerNorm(CHANNELS)
        self.qkv = nn.Linear(CHANNELS, 3 * CHANNELS)
        self.project = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens, size = x.shape[1], CHANNELS // HEADS
        y = self.qkv(self.norm(x))
        if self.native:
            q, k, v = (part.reshape(1, tokens, HEADS, size).transpose(1, 2) for part in y.chunk(3, dim=-1))
        else:
            q, k, v = y.reshape(1, tokens, 3, HEADS, size).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(1, tokens, CHANNELS)
        return x + self.project(y)


class Windows(nn.Module):
    """A layer in windows: partition and its inverse on six axes, or on four."""

    def __init__(self, native: bool) -> None:
        super().__init__()
        self.native = native
        self.inside = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        side, count = TOKENS, TOKENS // WINDOW
        if self.native:
            y = x.reshape(count, WINDOW, count, WINDOW * CHANNELS).permute(0, 2, 1, 3)
            y = self.inside(y.reshape(count * count, WINDOW * WINDOW, CHANNELS))
            y = y.reshape(count, count, WINDOW, WINDOW * CHANNELS).permute(0, 2, 1, 3)
        else:
            y = x.view(1, count, WINDOW, count, WINDOW, CHANNELS).permute(0, 1, 3, 2, 4, 5)
            y = self.inside(y.reshape(count * count, WINDOW * WINDOW, CHANNELS))
            y = y.view(1, count, count, WINDOW, WINDOW, CHANNELS).permute(0, 1, 3, 2, 4, 5)
        return x + y.reshape(1, side * side, CHANNELS)


class ResponseNorm(nn.Module):
    """ConvNeXt's global response norm: one addcmul, or a product and a sum."""

    def __init__(self, native: bool) -> None:
        super().__init__()
        self.native = native
        self.weight = nn.Parameter(torch.rand(CHANNELS))
        self.bias = nn.Parameter(torch.rand(CHANNELS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        energy = torch.norm(x, p=2, dim=1, keepdim=True)
        y = x * (energy / (energy.mean(dim=-1, keepdim=True) + 1e-6))
        return x + (self.bias + self.weight * y if self.native else torch.addcmul(self.bias, self.weight, y))


class Network(nn.Module):
    """Four blocks between a convolution that makes the tokens and one that ends on them."""

    def __init__(self, block: type[nn.Module], native: bool) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, CHANNELS, 16, 16)
        self.blocks = nn.Sequential(*(block(native) for _ in range(4)))
        self.head = nn.Conv2d(CHANNELS, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.blocks(self.embed(x).flatten(2).transpose(1, 2))
        return self.head(y.transpose(1, 2).reshape(1, CHANNELS, TOKENS, TOKENS))


BLOCKS = {"attention": Attention, "windows": Windows, "response-norm": ResponseNorm}
torch.manual_seed(0)
network = Network(BLOCKS[sys.argv[2]], native=sys.argv[3] == "native").eval()
with torch.no_grad():
    torch.jit.trace(network, torch.rand(1, 3, 224, 224)).save(f"{sys.argv[1]}/model.pt")  # type: ignore[no-untyped-call]
