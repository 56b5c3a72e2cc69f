"""Small networks, traced once, and the command that converts them in an empty directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.helpers.json_schema import validate

CHECKOUT = Path(__file__).parents[2]

NETWORKS = """
import sys
import zipfile
import torch
from torch import nn


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.function = function

    def forward(self, x):
        return self.function(self.conv(x))


torch.manual_seed(0)
NETWORKS = {
    "clean": torch.relu,
    "leaks": lambda x: torch.clamp_min(x, 0.25),
    "crashes": lambda x: torch.relu(x) * float("inf") + 1,
    "lost": lambda x: torch.special.airy_ai(x),
    "rewritten": lambda x: torch.addcmul(x, x, x + 1, value=0.5),
    "in-two-words": torch.tanh,
    "rounds": lambda x: torch.cat([
        torch.div(x, 0.37, rounding_mode="floor"),
        torch.div(x, 0.21, rounding_mode="trunc"),
        torch.round(x, decimals=1),
    ], 1),
    "rounds-some": lambda x: torch.relu(x / 3) + torch.div(x, 0.37, rounding_mode="floor"),
    "random": lambda x: torch.relu(x) + torch.rand_like(x),
}
for name, function in NETWORKS.items():
    model = Call(function).eval()
    torch.jit.trace(model, torch.rand(1, 3, 8, 8), check_trace=False).save(f"{sys.argv[1]}/{name}.pt")
broken = zipfile.ZipFile(f"{sys.argv[1]}/broken.pt", "w")
with zipfile.ZipFile(f"{sys.argv[1]}/clean.pt") as good, broken as bad:
    for name in good.namelist():
        bad.writestr(name, b"this is no code" if name.endswith(".py") else good.read(name))
torch.save(nn.Linear(2, 2).state_dict(), f"{sys.argv[1]}/state-dict.pt")
torch.jit.script(nn.ReLU()).save(f"{sys.argv[1]}/scripted.pt")
torch.jit.trace(nn.Sequential(nn.Linear(300, 300)), torch.rand(1, 300)).save(f"{sys.argv[1]}/large.pt")
"""


class Outcome(NamedTuple):
    """What a user sees of one command."""

    code: int
    out: str
    err: str


class Place:
    """An empty working directory in which the command runs in a process of its own."""

    def __init__(self, path: Path, models: Path) -> None:
        self.path = path
        self._models = models

    def put(self, model: str, name: str = "") -> Path:
        """Link a traced network here."""
        target = self.path / (name or f"{model}.pt")
        target.symlink_to(self._models / f"{model}.pt")
        return target

    def run(self, *argv: str, code: str = "", **environment: str) -> Outcome:
        """Run `pnnxfix convert`, or the Python program `code`. JSON is held against its schema."""
        command = [sys.executable, *(("-c", code) if code else ("-m", "pnnxfix", "convert")), *argv]
        done = subprocess.run(
            command,
            cwd=self.path,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
        )
        if done.stdout.startswith("{"):
            validate(json.loads(done.stdout), "convert.md")
        return Outcome(done.returncode, done.stdout, done.stderr)

    def names(self) -> set[str]:
        """The files here, hidden ones too."""
        return {path.name for path in self.path.iterdir()}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch", reason="PyTorch traces the networks that are converted")
    folder = tmp_path_factory.mktemp("models")
    program = folder / "networks.py"
    program.write_text(NETWORKS.lstrip())
    subprocess.run([sys.executable, "-W", "ignore", str(program), str(folder)], check=True)
    return folder


@pytest.fixture
def place(tmp_path: Path, models: Path) -> Place:
    return Place(tmp_path, models)
