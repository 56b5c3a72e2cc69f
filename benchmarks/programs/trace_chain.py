"""Traces a chain of residual blocks, four operators each, to FOLDER/model.pt.

python trace_chain.py FOLDER BLOCKS SIZE
"""

import sys

import torch
from torch import nn

CHANNELS = 32


class Network(nn.Module):
    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(blocks))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + 0.5 * torch.tanh(block(x))
        return x


folder, blocks, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.manual_seed(0)
with torch.no_grad():
    traced = torch.jit.trace(Network(blocks).eval(), torch.rand(1, 3, size, size))  # type: ignore[no-untyped-call]
traced.save(f"{folder}/model.pt")
