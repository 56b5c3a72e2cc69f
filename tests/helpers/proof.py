"""The numeric proof of a repair: the runtime gives PyTorch's stored outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.helpers.comparison import Arrays, assert_same_numbers, load_outputs
from tests.helpers.conversions import Stored

FP16_WEIGHTS = 1e-3
"""pnnx cuts the weights down to fp16 by default: a thousandth of each product, and products cancel.

So the absolute tolerance grows with the input; a quarter of this is enough for layers of this size.
"""

NO_WEIGHTS = {"rtol": 1e-5, "atol": 0.0}
"""The order of a sum may differ: a mean of 192 numbers is off by 9e-6 in ncnn before 20261020."""

IN_TORCH = {"rtol": 1e-5, "atol": 1e-6}
"""The same operators, perhaps on another CPU."""


def prove_ncnn(stored: Stored, outputs: Arrays) -> None:
    """ncnn's outputs are PyTorch's."""
    tolerance = NO_WEIGHTS
    if has_weights(stored):
        tolerance = {"rtol": FP16_WEIGHTS, "atol": FP16_WEIGHTS / 4 * _largest_input(stored.folder)}
    assert_same_numbers(_reference(stored.folder), outputs, **tolerance)


def prove_torch(stored: Stored, outputs: Arrays) -> None:
    """The outputs of the repaired Python are those of the original network."""
    tolerance = IN_TORCH if has_weights(stored) else NO_WEIGHTS
    assert_same_numbers(_reference(stored.folder), outputs, **tolerance)


def has_weights(stored: Stored) -> bool:
    """Whether a layer multiplies the input by weights, which ncnn may store as fp16."""
    return any("nn.Parameter" not in part and "nn." in part for part in stored.case.setup.values())


def _largest_input(folder: Path) -> float:
    with np.load(folder / "io.npz") as file:
        return float(max(abs(file[name]).max() for name in file.files if name.startswith("in")))


def _reference(folder: Path) -> Arrays:
    return load_outputs(folder / "io.npz")
