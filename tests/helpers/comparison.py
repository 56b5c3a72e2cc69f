"""Compares arrays and says where and by how much they differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray[Any, Any]]


def load_outputs(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of an .npz file, in its order, without the inputs `in0`.. of a network."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files if not name.startswith("in")}


def assert_same_numbers(expected: Arrays, actual: Arrays, rtol: float, atol: float) -> None:
    """`|a - b| <= atol + rtol * |b|` for every output; same names, same shapes, nan and inf alike."""
    assert sorted(actual) == sorted(expected)
    for name, right in expected.items():
        found = actual[name]
        assert found.shape == right.shape, f"{name}: shape {found.shape}, expected {right.shape}"
        # In float64, where the difference of two float32 is exact and does not overflow.
        b, a = right.astype(np.float64), found.astype(np.float64)
        special = ~np.isfinite(b) | ~np.isfinite(a)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):
            excess = np.where(special, np.where(same, -np.inf, np.inf), abs(a - b) - atol - rtol * abs(b))
        worst = np.unravel_index(int(np.argmax(excess)), excess.shape)
        assert excess[worst] <= 0, (
            f"{name}{[int(i) for i in worst]}: {found[worst]!r}, expected {right[worst]!r}; "
            f"{int((excess > 0).sum())} of {excess.size} differ, atol needed {excess[worst] + atol}"
        )
