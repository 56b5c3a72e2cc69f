"""Pairs the values of two runs of one network, though names differ and operators were fused or split up.

Values that are certainly one come first: kinds that go together, numbers that agree, no second choice.
From there the pairing follows the edges: what reads partners of the same values, and is of a fitting
kind, is a pair even where its numbers do not agree, and those are what is looked for. Neither order nor names
are trusted: a converter turns an expression inside out and numbers its operands anew.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from pnnxfix.verify.network import Network

CERTAIN = 1e-3
"""The relative error up to which numbers are taken for the same ones."""

_LONGEST_DETOUR = 12
"""Operators without counterpart between two that have one; more are no longer believed to be one step."""


class Pairing:
    """`pairs` gives the left partner of each right value that has one."""

    def __init__(
        self, left: Network, right: Network, fits: npt.NDArray[np.bool_], errors: npt.NDArray[np.float32]
    ) -> None:
        self._left, self._right, self._fits, self._errors = left, right, fits, errors
        self.pairs: dict[int, int] = {}
        self._taken: set[int] = set()
        self._readers = left.readers
        self._right_readers = right.readers
        self._pair_certain()
        constants = []
        for at, value in enumerate(right.values):
            if at in self.pairs:
                continue
            if value.inputs or value.kind == "Input":
                self._pair_by_inputs(at)
            else:
                constants.append(at)
        for at in constants:
            self._pair_by_readers(at)

    def is_paired(self, left: int) -> bool:
        return left in self._taken

    def reach(self, partner: int) -> dict[int, int]:
        """What a left operator reads, with its distance; where that has no counterpart, what it reads, too.

        Not through activations: one without counterpart has been dropped, or fused where it does not show.
        """
        seen: dict[int, int] = {}
        pending = deque((at, 0) for at in self._left.values[partner].inputs)
        while pending:
            at, distance = pending.popleft()
            if at in seen:
                continue
            seen[at] = distance
            if at not in self._taken and distance < _LONGEST_DETOUR and not self._left.is_activation(at):
                pending.extend((above, distance + 1) for above in self._left.values[at].inputs)
        return seen

    def _pair(self, left: int, right: int) -> None:
        self.pairs[right] = left
        self._taken.add(left)

    def _pair_certain(self) -> None:
        certain = self._fits & (self._errors < CERTAIN)
        rows, columns = certain.sum(1), certain.sum(0)
        for left, right in np.argwhere(certain):
            if rows[left] == 1 and columns[right] == 1:
                self._pair(int(left), int(right))

    def _pair_by_inputs(self, right: int) -> None:
        wanted = [self._partners(source) for source in self._right.values[right].inputs]
        wanted = [partners for partners in wanted if partners]
        best: tuple[bool, int, bool, float, int] | None = None
        for left in self._candidates(right, wanted):
            is_near = bool(self._errors[left, right] < CERTAIN)
            if left in self._taken or not (self._fits[left, right] or is_near):
                continue
            reach = self._reach_of_candidate(left)
            distances = [
                min((reach[at] for at in partners if at in reach), default=-1) for partners in wanted
            ]
            if wanted and min(distances) < 0:
                continue
            counts = self._left.values[left].signature.count, self._right.values[right].signature.count
            key = (
                not is_near,
                sum(distances),
                counts[0] != counts[1],
                float(self._errors[left, right]),
                left,
            )
            best = key if best is None or key < best else best
        if best is not None:
            self._pair(best[-1], right)

    def _pair_by_readers(self, right: int) -> None:
        """Pair a constant with one that a partner of its reader reads: nothing else tells which it is."""
        count = self._right.values[right].signature.count
        for reader in self._right_readers[right]:
            if reader not in self.pairs:
                continue
            reach = self._reach_of_candidate(self.pairs[reader])
            for left in sorted(reach, key=reach.__getitem__):
                value = self._left.values[left]
                if not value.inputs and value.signature.count == count and left not in self._taken:
                    return self._pair(left, right)

    def _partners(self, source: int) -> set[int]:
        """The left values that a right value stands for: its partner, or those of what it was made from."""
        found: set[int] = set()
        pending = [source]
        for _ in range(_LONGEST_DETOUR * 4):
            if not pending:
                break
            at = pending.pop()
            if at in self.pairs:
                found.add(self.pairs[at])
            else:
                pending.extend(self._right.values[at].inputs)
        return found

    def _candidates(self, right: int, wanted: list[set[int]]) -> list[int]:
        """The left values that may read partners of what the right value reads; cost: the way to them."""
        if not wanted:
            count = self._right.values[right].signature.count
            return [
                at
                for at, value in enumerate(self._left.values)
                if self._errors[at, right] < CERTAIN or (not value.inputs and value.signature.count == count)
            ]
        found: dict[int, None] = {}
        pending = deque((at, 0) for at in sorted(wanted[0]))
        while pending:
            at, distance = pending.popleft()
            for reader in self._readers[at]:
                if reader not in found and reader not in self._taken:
                    found[reader] = None
                    if distance < _LONGEST_DETOUR:
                        pending.append((reader, distance + 1))
        return list(found)

    def _reach_of_candidate(self, left: int) -> dict[int, int]:
        """As `reach`, but through activations too: the candidate may be one that is fused with its source."""
        seen: dict[int, int] = {}
        pending = deque((at, 0) for at in self._left.values[left].inputs)
        while pending:
            at, distance = pending.popleft()
            if at not in seen:
                seen[at] = distance
                if at not in self._taken and distance < _LONGEST_DETOUR:
                    pending.extend((above, distance + 1) for above in self._left.values[at].inputs)
        return seen
