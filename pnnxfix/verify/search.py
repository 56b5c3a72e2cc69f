"""Finds, in two paired traces, the first operator whose inputs agree and whose output does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pnnxfix.verify.align import find_errors, is_rearranged, pair_up
from pnnxfix.verify.network import Network, find_fits
from pnnxfix.verify.signature import Signature

FLOOR = 1e-6
"""A relative error that float32 arithmetic makes in any layer."""

_JUMP = 8.0
"""How much an error has to grow in one operator to be that operator's fault."""


@dataclass(frozen=True, slots=True)
class Culprit:
    """`right` is the value that is wrong, `left` its partner (None if it has none, by their indexes).

    `finding` says what was seen: `value`, `dropped` (the left operator has no counterpart), `inserted` (the right
    one has none), `shape` (the right numbers in a shape that its reader takes otherwise).
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
        counts = [np.array([v.signature.count for v in side.values]) for side in (left, right)]
        sizes = counts[0][:, None] == counts[1][None, :]
        self.pairs = pair_up(find_fits(left, right), self.errors, sizes)
        self._paired = set(self.pairs.values())

    def error(self, at: int) -> float | None:
        """The error of a right value against its partner."""
        return float(self.errors[self.pairs[at], at]) if at in self.pairs else None

    def find(self, ends: Sequence[int]) -> Culprit | None:
        """The culprit for the wrong values `ends` of the right side; None where errors grow bit by bit."""
        concerned = sorted(self.right.ancestors(ends) if ends else range(len(self.right.values)))
        first = self._find_jump(concerned, self.tolerance)
        if first is None:
            return None
        # A first small error may be a layer's own rounding, and the fault a much larger step behind it.
        larger = self._find_jump(concerned, 20 * self.tolerance)
        if larger is not None and _growth(larger) > _growth(first):
            first = larger
        return self._refine(first)

    def _find_jump(self, concerned: Sequence[int], tolerance: float) -> Culprit | None:
        for at in concerned:
            partner = self.pairs.get(at)
            if partner is None:
                continue
            error_out = float(self.errors[partner, at])
            if error_out <= tolerance:
                continue
            error_in = max((self._error_in(source, partner) for source in self.right.values[at].inputs), default=0.0)
            if error_out > _JUMP * max(error_in, FLOOR):
                return Culprit(at, partner, error_in, error_out)
        return None

    # inputs

    def _reach(self, partner: int) -> list[int]:
        """What a left operator reads; through operators that have no counterpart, what those read.

        Not through activations: one without counterpart has been dropped, or fused where it does not show.
        """
        seen: list[int] = []
        pending = list(self.left.values[partner].inputs)
        while pending:
            at = pending.pop(0)
            if at in seen:
                continue
            seen.append(at)
            if at not in self._paired and not self.left.is_activation(at):
                pending.extend(self.left.values[at].inputs)
        return seen

    def _direct_error(self, source: int, partner: int) -> float:
        """How far a right value is from what the partner of its reader reads."""
        reach = self._reach(partner)
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
        # Only broadcasting cares where axes of size 1 stand.
        is_joined = bool(self.right.layers) and self.right.layers[found.right].type == "BinaryOp"
        for source in self.right.values[found.right].inputs:
            direct = self._direct_error(source, found.left)
            if direct <= self.tolerance:
                if self._is_misshapen(source, found.left, is_joined):
                    return Culprit(source, self.pairs.get(source), found.error_in, found.error_out, "shape", found.right)
                continue
            if source in self.pairs:
                dropped = self._find_dropped(self.pairs[source], found.left)
                if dropped is not None:
                    error = float(self.errors[dropped, source])
                    return Culprit(source, dropped, found.error_in, error, "dropped", found.right)
            elif not self.right.is_relayout(source) and self.right.values[source].inputs:
                return Culprit(source, None, found.error_in, direct, "inserted", found.right)
        return found

    def _find_dropped(self, above: int, partner: int) -> int | None:
        """The first operator without counterpart between two left values of which the second reads the first."""
        chain = []
        at = partner
        for _ in range(len(self.left.values)):
            open_inputs = [i for i in self.left.values[at].inputs if i not in self._paired]
            if above in self.left.values[at].inputs:
                return chain[-1] if chain else None
            if not open_inputs:
                return None
            at = open_inputs[0]
            chain.append(at)
        return None

    def _is_misshapen(self, source: int, partner: int, is_joined: bool) -> bool:
        """Whether the right numbers stand in a shape in which their reader takes them for something else."""
        if not self.right.layers:
            return False
        signature = self.right.values[source].signature
        near = [at for at in self._reach(partner) if self.errors[at, source] <= self.tolerance]
        shapes = [self.left.values[at].signature.shape for at in near]
        if any(_squeeze(signature.shape) == _squeeze(shape) for shape in shapes) and not is_joined:
            return False
        return bool(near) and not any(_has_shape(signature, self.left.values[at].signature) for at in near)


def _growth(culprit: Culprit) -> float:
    return culprit.error_out / max(culprit.error_in, FLOOR)


def _squeeze(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _has_shape(blob: Signature, tensor: Signature) -> bool:
    """Whether a blob has the shape of a tensor but for its batch axis and for axes of size 1 in front."""
    wanted = _strip(blob.shape)
    shapes = [tensor.shape] + [
        tensor.shape[:at] + tensor.shape[at + 1 :] for at, size in enumerate(tensor.shape) if size == 1
    ]
    return wanted in map(_strip, shapes)


def _strip(shape: Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(shape)
    while sizes and sizes[0] == 1:
        sizes = sizes[1:]
    return sizes
