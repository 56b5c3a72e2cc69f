"""Pairs the values of two runs of one network, though names differ and operators were fused or split up.

Both runs list their values in an order of execution, and a converter keeps that order but for what it
inserts, fuses or drops. So the best pairing is a sequence alignment: a pair counts by how well the kinds
of its operators go together and how near its values are; unpaired values count nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pnnxfix.verify.signature import Record, Signature

LARGEST_BLOCK = 700
"""Values of one side between two certain pairs; what is beyond stays unpaired, and memory bounded."""

_CERTAIN = 1e-3
_KIND_ONLY, _SAME_SIZE, _VALUE_ONLY, _BOTH = 2.0, 0.5, 5.0, 8.0


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

    Cost: a product of matrices for each number of elements.
    """
    errors = np.full((len(left), len(right)), np.inf, np.float32)
    groups: dict[int, tuple[list[int], list[int]]] = {}
    for side, values in enumerate((left, right)):
        for at, value in enumerate(values):
            groups.setdefault(value.signature.count, ([], []))[side].append(at)
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
            for row, other in enumerate(lefts):
                if _same_specials(left[other].signature, right[at].signature):
                    errors[other, at] = min(errors[other, at], distance[row, column])
    return errors


def _norm(signature: Signature) -> float:
    # An error in something that is nearly 0 everywhere is measured against a small number, not against 0.
    return max(signature.norm, 1e-6 * math.sqrt(max(signature.count, 1)))


def _same_specials(a: Signature, b: Signature) -> bool:
    return a.nans == b.nans and a.infinities == b.infinities


def is_rearranged(a: Signature, b: Signature) -> bool:
    """Whether two values hold the same elements, perhaps in another order."""
    if a.count != b.count or not _same_specials(a, b):
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


def pair_up(
    fits: npt.NDArray[np.bool_], errors: npt.NDArray[np.float32], sizes: npt.NDArray[np.bool_]
) -> dict[int, int]:
    """The left partner of each right value that has one. Both orders are kept.

    `fits` says whose operators go together, `sizes` whose numbers of elements are one.
    """
    scores = np.where(fits, _KIND_ONLY + sizes * _SAME_SIZE, 0.0)
    near = np.clip(-np.log10(np.maximum(errors, 1e-12)) / 3.0, 0.0, 1.0)
    scores = scores + np.where(fits, near * (_BOTH - _KIND_ONLY), near * _VALUE_ONLY)
    pairs: dict[int, int] = {}
    start = (0, 0)
    anchors = [*_find_anchors(fits, errors), (fits.shape[0], fits.shape[1])]
    for left, right in anchors:
        rows, columns = left - start[0], right - start[1]
        rows, columns = min(rows, LARGEST_BLOCK), min(columns, LARGEST_BLOCK)
        block = scores[start[0] : start[0] + rows, start[1] : start[1] + columns]
        for row, column in _align(block):
            pairs[start[1] + column] = start[0] + row
        if left < fits.shape[0]:
            pairs[right] = left
        start = (left + 1, right + 1)
    return pairs


def _find_anchors(fits: npt.NDArray[np.bool_], errors: npt.NDArray[np.float32]) -> list[tuple[int, int]]:
    """Pairs that are certain, in an order that rises on both sides: the longest such chain."""
    certain = fits & (errors < _CERTAIN)
    rows, columns = certain.sum(1), certain.sum(0)
    candidates = [(int(r), int(c)) for r, c in np.argwhere(certain) if rows[r] == 1 and columns[c] == 1]
    candidates.sort(key=lambda pair: (pair[1], -pair[0]))
    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for at, (left, _) in enumerate(candidates):
        place = bisect_left(tails, left)
        before.append(ends[place - 1] if place else -1)
        if place == len(tails):
            tails.append(left)
            ends.append(at)
        else:
            tails[place], ends[place] = left, at
    chain: list[tuple[int, int]] = []
    at = ends[-1] if ends else -1
    while at != -1:
        chain.append(candidates[at])
        at = before[at]
    return chain[::-1]


def _align(scores: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
    """The pairs with the highest sum of scores whose order rises on both sides (Needleman, Wunsch)."""
    rows, columns = scores.shape
    if not rows or not columns:
        return []
    best = np.zeros((rows + 1, columns + 1))
    for row in range(rows):
        paired = best[row, :-1] + scores[row]
        paired[scores[row] <= 0] = -np.inf
        # An unpaired column takes the best to its left, so the row is a running maximum.
        best[row + 1, 1:] = np.maximum.accumulate(np.maximum(best[row, 1:], paired))
    pairs = []
    row, column = rows, columns
    while row and column:
        if best[row, column] == best[row, column - 1]:
            column -= 1
        elif best[row, column] == best[row - 1, column]:
            row -= 1
        else:
            row, column = row - 1, column - 1
            pairs.append((row, column))
    return pairs[::-1]
