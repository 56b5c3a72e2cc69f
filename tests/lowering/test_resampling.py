"""Interpolation of volumes, run in ncnn against numpy in double precision."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pnnxfix.rules.lowering.builder import NotExpressible
from tests.lowering.run_layers import Array, run_rule

SHAPE = (1, 2, 4, 3, 5)
X = np.random.default_rng(7).normal(size=SHAPE).astype(np.float32).astype(np.float64)


def _resize(x: Array, axis: int, size: int, mode: str, align: bool) -> Any:
    """One axis, from the definition: where each result comes from."""
    have = x.shape[axis]
    places = np.arange(size)
    if mode.startswith("nearest"):
        source = (places + (0.5 if mode == "nearest-exact" else 0)) * have / size
        return np.take(x, np.minimum(np.floor(source).astype(int), have - 1), axis)
    exact = (
        places * (have - 1) / max(size - 1, 1) if align else np.maximum((places + 0.5) * have / size - 0.5, 0)
    )
    low = np.minimum(np.floor(exact).astype(int), have - 1)
    share = (exact - low).reshape([-1 if at == axis else 1 for at in range(x.ndim)])
    return np.take(x, low, axis) * (1 - share) + np.take(x, np.minimum(low + 1, have - 1), axis) * share


@pytest.mark.parametrize("sizes", [(3, 7, 2), (8, 6, 10), (1, 3, 5)], ids=str)
@pytest.mark.parametrize(
    ("mode", "align"),
    [("nearest", None), ("nearest-exact", None), ("trilinear", False), ("trilinear", True)],
)
def test_volume(sizes: tuple[int, ...], mode: str, align: bool | None) -> None:
    expected = X
    for axis, size in enumerate(sizes, 2):
        expected = _resize(expected, axis, size, mode, align is True)
    shape = (*SHAPE[:2], *sizes)
    arguments: Any = (X, sizes, None, mode, align, None, None)
    (found,) = run_rule("F.interpolate", *arguments, shapes=(shape,), drop_batch=True)
    assert math.prod(found.shape) == math.prod(shape)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "antialias", "reason"), [("bicubic", None, "bicubic"), ("trilinear", True, "antialias")]
)
def test_refuses(mode: str, antialias: bool | None, reason: str) -> None:
    with pytest.raises(NotExpressible, match=reason):
        run_rule(
            "F.interpolate", X, (2, 2, 2), None, mode, None, None, antialias,
            shapes=((1, 2, 2, 2, 2),), drop_batch=True,
        )  # fmt: skip
