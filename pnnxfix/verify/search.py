"""Finds, in two paired traces, the first operator whose inputs agree and whose output does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pnnxfix.verify.distance import find_errors, is_rearranged
from pnnxfix.verify.network import Network, find_fits
from pnnxfix.verify.pairing import Pairing

FLOOR = 1e-6
"""A relative error that float32 arithmetic makes in any layer."""

_JOINING = frozenset({"BinaryOp", "Concat", "Eltwise"})

_JUMP = 8.0
"""How much an error has to grow in one operator to be that operator's fault."""


@dataclass(frozen=True, slots=True)
class Culprit:
    """`right` is the value that is wrong, `left` its partner (None if it has none, by their indexes).

    `finding` says what was seen: `value`, `dropped` (the left operator has no counterpart), `inserted`
    (the right one has none), `shape` (right numbers in a shape that the reader, `beside`, takes otherwise).
    """

    right: int
    left: int | None
    error_in: float
    error_out: float
    finding: str = "value"
    beside: int | None = None


class Search:
    """Two traces, paired. `tolerance` is the relative L2 error up to which two values agree."""

    def __init__(self, left: Network, right: Network, tolerance: float) -> None:
        self.left, self.right, self.tolerance = left, right, tolerance
        self.errors: npt.NDArray[np.float32] = find_errors(left.values, right.values)
        self._pairing = Pairing(left, right, find_fits(left, right), self.errors)
        self.pairs = self._pairing.pairs

    def error(self, at: int) -> float | None:
        """The error of a right value against its partner."""
        return float(self.errors[self.pairs[at], at]) if at in self.pairs else None

    def find(self, ends: Sequence[int]) -> Culprit | None:
        """The culprit for the wrong values `ends` of the right side; None where errors grow bit by bit."""
        concerned = sorted(self.right.ancestors(ends) if ends else range(len(self.right.values)))
        first = self._find_jump(concerned, self.tolerance)
        if first is None:
            return self._find_misshapen_end(ends)
        # A first small error may be a layer's own rounding, and the fault a much larger step behind it.
        larger = self._find_jump(concerned, 20 * self.tolerance)
        if larger is not None and _growth(larger) > _growth(first):
            first = larger
        return self._refine(first)

    def _find_misshapen_end(self, ends: Sequence[int]) -> Culprit | None:
        """An output whose numbers are right, in a shape that differs by more than axes of size 1."""
        for at in ends:
            partner = self.pairs.get(at)
            if partner is None:
                continue
            shapes = self.left.values[partner].signature.shape, self.right.values[at].signature.shape
            if _squeeze(shapes[0]) != _squeeze(shapes[1]):
                return Culprit(at, partner, 0.0, float(self.errors[partner, at]), "shape")
            # The same numbers once more, in another shape that nothing on the right side has.
            behind = [
                left
                for left in range(partner + 1, len(self.left.values))
                if self.errors[left, at] <= self.tolerance
                and not self._pairing.is_paired(left)
                and _squeeze(self.left.values[left].signature.shape) != _squeeze(shapes[1])
            ]
            if behind:
                return Culprit(at, behind[-1], 0.0, 0.0, "dropped")
        return None

    def _find_jump(self, concerned: Sequence[int], tolerance: float) -> Culprit | None:
        for at in concerned:
            partner = self.pairs.get(at)
            if partner is None:
                continue
            error_out = float(self.errors[partner, at])
            if error_out <= tolerance:
                continue
            error_in = max(
                (self._error_in(source, partner) for source in self.right.values[at].inputs), default=0.0
            )
            if error_out > _JUMP * max(error_in, FLOOR):
                return Culprit(at, partner, error_in, error_out)
        return None

    # inputs

    def _direct_error(self, source: int, partner: int) -> float:
        """How far a right value is from what the partner of its reader reads."""
        reach = self._pairing.reach(partner)
        best = min((float(self.errors[at, source]) for at in reach), default=float("inf"))
        if best > self.tolerance:
            signature = self.right.values[source].signature
            if any(is_rearranged(self.left.values[at].signature, signature) for at in reach):
                return FLOOR
        return best

    def _error_in(self, source: int, partner: int) -> float:
        best = self._direct_error(source, partner)
        if best <= self.tolerance:
            return best
        if source in self.pairs:
            return min(best, float(self.errors[self.pairs[source], source]))
        inputs = self.right.values[source].inputs
        # Without counterpart it is a step that the converter put in: as good as what went into it.
        return max((self._error_in(above, partner) for above in inputs), default=0.0)

    # whose fault it is

    def _refine(self, found: Culprit) -> Culprit:
        assert found.left is not None
        for source in self.right.values[found.right].inputs:
            direct = self._direct_error(source, found.left)
            if direct <= self.tolerance:
                if self._is_misshapen(source, found.left, found.right):
                    source = self._climb(source)
                    partner = self.pairs.get(source)
                    return Culprit(source, partner, found.error_in, found.error_out, "shape", found.right)
                continue
            inputs = self.right.values[source].inputs
            if source in self.pairs:
                dropped = self._find_dropped(self.pairs[source], found.left)
                if dropped is not None:
                    error = float(self.errors[dropped, source])
                    return Culprit(source, dropped, found.error_in, error, "dropped", found.right)
            elif inputs and (not self.right.is_relayout(source) or self._loses_elements(source)):
                return Culprit(source, None, found.error_in, direct, "inserted", found.right)
        return found

    def _loses_elements(self, at: int) -> bool:
        values = self.right.values
        return all(values[above].signature.count != values[at].signature.count for above in values[at].inputs)

    def _climb(self, at: int) -> int:
        """From a value in a wrong shape to the first layer that gave it that shape."""
        for _ in range(len(self.right.values)):
            inputs = self.right.values[at].inputs
            above = inputs[0] if len(inputs) == 1 else None
            if above is None or above not in self.pairs:
                break
            tensor = self.left.values[self.pairs[above]].signature
            blob = self.right.values[above].signature
            if self.errors[self.pairs[above], above] > self.tolerance or blob.shape in without_batch(
                tensor.shape
            ):
                break
            at = above
        return at

    def _find_dropped(self, above: int, partner: int) -> int | None:
        """The first operator without counterpart on the way from a left value to one that depends on it."""
        chain: list[int] = []
        at = partner
        for _ in range(len(self.left.values)):
            open_inputs = [i for i in self.left.values[at].inputs if not self._pairing.is_paired(i)]
            if above in self.left.values[at].inputs:
                return chain[-1] if chain else None
            if not open_inputs:
                return None
            at = open_inputs[0]
            chain.append(at)
        return None

    def _is_misshapen(self, source: int, partner: int, reader: int) -> bool:
        """Whether the right numbers stand in a shape in which their reader takes them for something else.

        Where axes of size 1 stand matters only to layers that join two blobs.
        """
        if not self.right.layers:
            return False
        blob = self.right.values[source].signature.shape
        near = [at for at in self._pairing.reach(partner) if self.errors[at, source] <= self.tolerance]
        shapes = [self.left.values[at].signature.shape for at in near]
        if self.right.layers[reader].type not in _JOINING:
            return bool(near) and all(_squeeze(blob) != _squeeze(shape) for shape in shapes)
        rank = len(self.left.values[partner].signature.shape)
        padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
        # ncnn has its own way with one axis, and pnnx relies on it.
        return (
            bool(near)
            and len(blob) > 1
            and all(blob not in without_batch(shape) for shape in padded + shapes)
        )


def without_batch(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The shapes that a blob of this tensor may have: all axes, or all but one of size 1."""
    return [shape] + [shape[:at] + shape[at + 1 :] for at, size in enumerate(shape) if size == 1]


def _growth(culprit: Culprit) -> float:
    return culprit.error_out / max(culprit.error_in, FLOOR)


def _squeeze(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
