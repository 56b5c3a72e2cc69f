"""The numbers by which two arrays are compared."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from pnnxfix.verify.outcome import Measure

Array = npt.NDArray[Any]


def measure(
    reference: Array | None,
    other: Array | None,
    output: str,
    input: str,
    tolerance: float,
    strict: bool = True,
    typical: float = 0.0,
) -> Measure:
    """Compare one output; None stands for an output that one side has not, which is a failure.

    `typical` is the rms of this output on ordinary input: a hundredth of it is the least that errors
    are measured against, or the rounding of a network that gives nearly 0 would look large.

    With `strict` False, elements that are not finite in the reference are counted and left out: what
    a network makes of input beyond its domain says little about its conversion.
    """
    shapes = (
        None if reference is None else tuple(reference.shape),
        None if other is None else tuple(other.shape),
    )
    if reference is None or other is None or shapes[0] != shapes[1]:
        moved = reference is not None and other is not None and _is_batch_moved(reference, other, tolerance)
        return Measure(
            output,
            input,
            tolerance,
            math.inf,
            math.inf,
            math.inf,
            math.inf,
            0.0,
            shapes,
            batch_axis_only=moved,
        )
    a = _as_floats(reference)
    b = _as_floats(other)
    counts = (_count_nonfinite(a), _count_nonfinite(b))
    kept = np.isfinite(a) if not strict else np.ones(a.shape, bool)
    hidden = int((~kept & ~_same_kind(a, b)).sum())
    both = np.isfinite(a) & np.isfinite(b)
    with np.errstate(all="ignore"):
        gap = a - b
        difference = np.where(both, np.abs(gap), np.where(_same_kind(a, b) & ~both, 0.0, math.inf))
        difference = np.where(kept, difference, 0.0)
        finite = np.where(both, a, 0.0)
        rms = math.sqrt(float(np.mean(finite**2))) if a.size else 0.0
        scaled = difference / (np.abs(finite) + max(rms, typical / 100, 1e-30))
        scaled = np.where(difference == 0, 0.0, scaled)
        relative = difference / np.maximum(np.abs(finite), 1e-30)
    worst = None
    if a.size and scaled.max() > 0:
        index = np.unravel_index(int(np.argmax(scaled)), a.shape)
        worst = (tuple(int(at) for at in index), float(a[index]), float(b[index]))
    norms = float(np.linalg.norm(finite)), float(np.linalg.norm(np.where(both, b, 0.0)))
    distance = float(np.linalg.norm(np.where(both & kept, gap, 0.0))) if a.size else 0.0
    return Measure(
        output,
        input,
        tolerance,
        float(scaled.max(initial=0.0)),
        float(difference.max(initial=0.0)),
        float(np.where(difference == 0, 0.0, relative).max(initial=0.0)),
        distance / norms[0] if norms[0] else float(distance > 0),
        _cosine(finite, np.where(both, b, 0.0), norms),
        shapes,
        counts,
        worst,
        hidden,
    )


def find_rms(array: Array) -> float:
    """The root of the mean square of the finite elements."""
    finite = _as_floats(array)[np.isfinite(array)]
    return math.sqrt(float(np.mean(finite**2))) if finite.size else 0.0


def _as_floats(array: Array) -> Array:
    return np.asarray(array, np.float64)


def _count_nonfinite(array: Array) -> tuple[int, int]:
    return int(np.isnan(array).sum()), int(np.isinf(array).sum())


def _same_kind(a: Array, b: Array) -> Array:
    """Where both are nan, both +inf, or both -inf; and everywhere both are finite."""
    same = (np.isnan(a) & np.isnan(b)) | (np.isfinite(a) & np.isfinite(b)) | (np.isinf(a) & (a == b))
    return np.asarray(same)


def _cosine(a: Array, b: Array, norms: tuple[float, float]) -> float:
    if not norms[0] or not norms[1]:
        return 1.0 if norms[0] == norms[1] else 0.0
    return float(np.vdot(a / norms[0], b / norms[1]))


def _is_batch_moved(reference: Array, other: Array, tolerance: float) -> bool:
    """Whether the arrays are one up to axes of size 1, or up to where the first of them stands."""
    candidates = [other.reshape(reference.shape)] if reference.size == other.size else []
    candidates += [
        moved for axis in range(other.ndim) if (moved := np.moveaxis(other, 0, axis)).shape == reference.shape
    ]
    squeezed = [size for size in reference.shape if size != 1], [size for size in other.shape if size != 1]
    if squeezed[0] != squeezed[1]:
        candidates = candidates[1:]
    return any(measure(reference, one, "", "", tolerance).passed for one in candidates)
