"""Which torch axis each blob leaves out: what pnnx decided, as far as the files show it."""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

from pnnxfix.graph.blobs import NO_BATCH
from pnnxfix.rules.base import Refusal

if TYPE_CHECKING:
    from pnnxfix.pipeline.loaded import LoadedConversion


class BatchAxes:
    """The batch axis of each operand of the pnnx graph."""

    def __init__(self, loaded: LoadedConversion) -> None:
        self._loaded = loaded

    @cached_property
    def _script_axes(self) -> set[int]:
        script = self._loaded.script
        return {known.batch_axis for known in script.inputs.values()} | set(script.outputs.values())

    def axis(self, operand: str) -> int | None:
        """The axis that an operand's blob leaves out, NO_BATCH if none, None if not certain."""
        del operand
        return NO_BATCH if self._script_axes == {NO_BATCH} else None

    def blob_of(self, operand: str, shape: tuple[int, ...]) -> tuple[int, ...] | Refusal | None:
        """The sizes of an operand's blob; None where they are not certain, but its elements are.

        A Refusal where the blob holds one member of a batch of several.
        """
        axis = self.axis(operand)
        if axis is None:
            return None
        if axis == NO_BATCH:
            return shape if 1 <= len(shape) <= 4 else None
        rest = shape[:axis] + shape[axis + 1 :]
        if prod(rest) != prod(shape):
            return Refusal(
                f"its batch has {shape[axis]} members, and ncnn runs one at a time",
                "convert it with a batch of one",
            )
        return rest if 1 <= len(rest) <= 4 else None
