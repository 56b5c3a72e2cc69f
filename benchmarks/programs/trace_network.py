"""Traces a network of depthwise separable blocks, as MobileNet has them, to FOLDER/model.pt.

    python trace_network.py FOLDER leaked|native

`leaked` bounds each convolution with torch.clamp_min, `native` with the torch.clamp that pnnx converts.
"""

import sys

import torch
from torch import nn

CHANNELS = [(3, 16, 2), (16, 32, 1), (32, 64, 2), *[(64, 64, 1)] * 4, (64, 128, 2), *[(128, 128, 1)] * 6]


class Network(nn.Module):
    def __init__(self, native: bool) -> None:
        super().__init__()
        self.native = native
        layers: list[nn.Module] = []
        for at, (inner, outer, stride) in enumerate(CHANNELS):
            groups = 1 if at == 0 else inner
            layers.append(nn.Conv2d(inner, outer if at == 0 else inner, 3, stride, 1, groups=groups))
            if at:
                layers.append(nn.Conv2d(inner, outer, 1))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
            x = torch.clamp(x, min=-0.1) if self.native else torch.clamp_min(x, -0.1)
        return x


torch.manual_seed(0)
network = Network(native=sys.argv[2] == "native").eval()
with torch.no_grad():
    torch.jit.trace(network, torch.rand(1, 3, 224, 224)).save(f"{sys.argv[1]}/model.pt")  # type: ignore[no-untyped-call]
