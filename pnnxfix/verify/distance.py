"""How far the values of two runs of one network are from each other, by their signatures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pnnxfix.verify.signature import Record, Signature


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a trace, its operator's kind, and the values that it was made from, as indexes."""

    record: Record
    kind: str
    inputs: tuple[int, ...]

    @property
    def signature(self) -> Signature:
        return self.record.signature


def find_errors(left: Sequence[Value], right: Sequence[Value]) -> npt.NDArray[np.float32]:
    """The relative L2 error of each right value against each left one, inf where they cannot be one.

    Cost: a product of matrices for each number of elements. What is finite on one side alone is no pair.
    """
    errors = np.full((len(left), len(right)), np.inf, np.float32)
    groups: dict[object, tuple[list[int], list[int]]] = {}
    for side, values in enumerate((left, right)):
        for at, value in enumerate(values):
            groups.setdefault(_class(value.signature), ([], []))[side].append(at)
    for lefts, rights in groups.values():
        if not lefts or not rights:
            continue
        a = np.stack([left[at].signature.sketches[0] for at in lefts])
        rows = [(at, sketch) for at in rights for sketch in right[at].signature.sketches]
        b = np.stack([sketch for _, sketch in rows])
        with np.errstate(all="ignore"):
            square = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2 * a @ b.T
            norms = np.array([_norm(left[at].signature) for at in lefts])
            distance = np.sqrt(np.maximum(square, 0.0)) / norms[:, None]
        for column, (at, _) in enumerate(rows):
            errors[lefts, at] = np.fmin(errors[lefts, at], distance[:, column])
    return errors


def _class(signature: Signature) -> object:
    """Values of two classes cannot be one: they differ in elements, or in which of them are finite."""
    return signature.count, signature.nans, signature.infinities


def _norm(signature: Signature) -> float:
    # An error in something that is nearly 0 everywhere is measured against a small number, not against 0.
    return max(signature.norm, 1e-6 * math.sqrt(max(signature.count, 1)))


def is_rearranged(a: Signature, b: Signature) -> bool:
    """Whether two values hold the same elements, perhaps in another order."""
    if _class(a) != _class(b):
        return False
    scale = max(a.norm, 1e-20)
    spread = max(abs(a.moments[3]), abs(a.moments[4]), 1e-20)
    return (
        abs(a.norm - b.norm) <= 1e-3 * scale
        and abs(a.moments[0] - b.moments[0]) <= 1e-3 * scale * math.sqrt(a.count)
        and abs(a.moments[2] - b.moments[2]) <= 3e-3 * scale**3
        and abs(a.moments[3] - b.moments[3]) <= 2e-3 * spread
        and abs(a.moments[4] - b.moments[4]) <= 2e-3 * spread
    )
