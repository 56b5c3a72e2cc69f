"""`import pnnxfix as pnnx`: the functions of the package pnnx, with what comes out repaired."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest

import pnnxfix

if TYPE_CHECKING:
    from conftest import Place

PROGRAM = """
import os
import sys
import warnings

import torch

import {package} as pnnx


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return {expression}


torch.manual_seed(0)
x = torch.rand(1, 3, 8, 8)
model = Network()
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    network = pnnx.export(model, "net.pt", x)
said = [str(one.message) for one in told if one.category is UserWarning and "net.pt" in str(one.message)]
print(type(network).__name__, float((network.eval()(x) - model(x)).abs().max()), said)
"""


@pytest.mark.parametrize("name", ["export", "convert"])
def test_the_signatures_are_those_of_pnnx(name: str) -> None:
    theirs = inspect.signature(
        getattr(pytest.importorskip("pnnx", reason="the signatures are held against pnnx's own"), name)
    ).parameters
    ours = inspect.signature(getattr(pnnxfix, name)).parameters
    assert list(ours) == list(theirs)
    assert [one.default for one in ours.values()] == [one.default for one in theirs.values()]


def test_changing_the_import_is_enough(place: Place) -> None:
    program = PROGRAM.replace("{expression}", "torch.clamp_min(self.conv(x), 0.25)")
    theirs = place.run(code=program.replace("{package}", "pnnx"))
    assert theirs.code == 1
    assert "SyntaxError" in theirs.err
    ours = place.run(code=program.replace("{package}", "pnnxfix"))
    assert (ours.code, ours.out) == (0, "Model 0.0 []\n"), ours.err


def test_a_clean_model_gives_the_files_of_pnnx(place: Place) -> None:
    program = PROGRAM.replace("{expression}", "torch.relu(self.conv(x))")
    made = []
    for package in ("pnnx", "pnnxfix"):
        assert place.run(code=program.replace("{package}", package)).out.endswith("Model 0.0 []\n")
        files = [path for path in place.path.iterdir() if path.is_file()]
        made.append({path.name: path.read_bytes() for path in files if path.suffix not in (".pt", ".log")})
        for path in files:
            path.unlink()
    assert made[0] == made[1]
    assert len(made[0]) == 7


def test_export_without_inputs(place: Place) -> None:
    program = PROGRAM.replace("{expression}", "torch.relu(self.conv(x))").replace("{package}", "pnnxfix")
    given = 'input_shapes=[1, 3, 8, 8], input_types="f32"'
    done = place.run(code=program.replace('"net.pt", x)', f'"net.pt", {given})'))
    assert done.out == "Model 0.0 []\n", done.err


def test_a_model_whose_ncnn_cannot_be_rescued_is_told(place: Place) -> None:
    program = PROGRAM.replace("{expression}", "torch.special.airy_ai(self.conv(x))")
    done = place.run(code=program.replace("{package}", "pnnxfix"))
    if done.code == 0:
        assert done.out.startswith("Model 0.0 ")
        assert "the ncnn model does not work: ncnn has no layer `aten::special_airy_ai`" in done.out
    else:
        assert "ConversionFailed" in done.err


def test_a_model_of_which_pnnx_dies(place: Place) -> None:
    program = PROGRAM.replace("{expression}", "self.conv(x) * float('inf')").replace("{package}", "pnnxfix")
    done = place.run(code=program)
    assert done.code == 1
    assert "ConversionFailed: net.pt: pnnx dies of aten::mul at <string>:17" in done.err


def test_shapes_and_types_without_inputs(place: Place) -> None:
    place.put("clean")
    code = """
import pnnxfix as pnnx
network = pnnx.convert("clean.pt", input_shapes=[1, 3, 8, 8], input_types="f32")
print(type(network).__name__)
try:
    pnnx.convert("clean.pt", input_shapes=[[1, 3, 8, 8]], input_types=["f32", "f32"])
except pnnx.ConversionFailed:
    print("wrong error")
except Exception as error:
    print(error)
"""
    done = place.run(code=code)
    assert done.out == "Model\n1 shapes and 2 types: give one type for each shape\n", done.err
