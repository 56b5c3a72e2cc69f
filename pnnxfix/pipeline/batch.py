"""Which torch axis each blob leaves out: what pnnx decided, checked against what `_ncnn.py` says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

from pnnxfix.graph.batch_axis import NO_BATCH, solve_batch_axes
from pnnxfix.graph.batch_layout import BatchLayouts, carry_batch_axes
from pnnxfix.graph.blobs import MAX_RANK
from pnnxfix.graph.shapes import Annotations
from pnnxfix.rules.base import Refusal

if TYPE_CHECKING:
    from pnnxfix.pipeline.loaded import LoadedConversion


@dataclass(frozen=True, slots=True)
class Layout:
    """The sizes of a blob, outermost first; None where they are not certain, but its elements are.

    `members` is the torch axis whose members the blob holds one by one, None for a plain blob.
    """

    blob: tuple[int, ...] | None
    members: int | None = None


class BatchAxes:
    """The batch axis of each operand of the pnnx graph of a conversion that has one."""

    def __init__(self, loaded: LoadedConversion) -> None:
        self._loaded = loaded

    @property
    def has_members(self) -> bool:
        """Whether blobs can hold a batch of several, as those of conversions since 20261020 do."""
        return self._loaded.script.has_members

    @cached_property
    def is_single(self) -> bool:
        """Whether the network was converted with a batch of one, as far as the script tells."""
        inputs = self._loaded.script.inputs.values()
        sizes = {known.shape[known.batch_axis] for known in inputs if known.batch_axis < len(known.shape)}
        return sizes <= {1}

    @cached_property
    def _solved(self) -> dict[str, int]:
        """What was solved, nothing where it contradicts the script. Cost: one pass over the graph."""
        assert self._loaded.pnnx is not None
        graph = self._loaded.pnnx.graph
        solved = solve_batch_axes(graph, Annotations(graph), self.has_members)
        for operand, said in self.said_by_script().items():
            if solved.get(operand) != said:
                return {}
        return solved

    def said_by_script(self) -> dict[str, int]:
        """The axis of each input and output of the network, as `_ncnn.py` has it."""
        assert self._loaded.pnnx is not None
        graph, script = self._loaded.pnnx.graph, self._loaded.script
        said: dict[str, int] = {}
        inputs = outputs = 0
        for handle in graph:
            operator = graph.original(handle)
            if operator.type == "pnnx.Input":
                known = script.inputs.get(f"in{inputs}")
                inputs += 1
                if known is not None and operator.outputs:
                    said[operator.outputs[0]] = known.batch_axis
            elif operator.type == "pnnx.Output" and operator.inputs:
                for operand in self._parts(operator.inputs[0]):
                    axis = script.outputs.get(f"out{outputs}")
                    outputs += 1
                    if axis is not None:
                        said[operand] = axis
        return said

    def _parts(self, operand: str) -> tuple[str, ...]:
        assert self._loaded.pnnx is not None
        maker = self._loaded.pnnx.graph.maker(operand)
        return maker.inputs if maker is not None and maker.type == "prim::TupleConstruct" else (operand,)

    def axis(self, operand: str) -> int | None:
        """The axis that an operand's blob leaves out, NO_BATCH if none, None if not certain."""
        return self._solved.get(operand)

    def left_out(self, operand: str) -> int | None:
        """The axis that an operand's blob itself leaves out, which may be another than pnnx has in mind."""
        return self._carried.left_out.get(operand)

    @cached_property
    def _carried(self) -> BatchLayouts:
        """What blobs leave out where that is not simply the batch. Cost: one pass over the graph."""
        assert self._loaded.pnnx is not None
        graph = self._loaded.pnnx.graph
        if not self.has_members or not self._solved:
            return BatchLayouts(self._solved)
        return carry_batch_axes(graph, self._solved, Annotations(graph))

    @property
    def wrong(self) -> set[int]:
        """The operators, by handle, whose layers get other members than those of the batch."""
        return self._carried.wrong

    def layout(self, operand: str, shape: tuple[int, ...]) -> Layout | Refusal:
        """How an operand's blob is laid out. A Refusal where ncnn cannot hold it, or nobody can tell."""
        axis = self.left_out(operand)
        if axis is None:
            return Layout(None)
        if axis == NO_BATCH:
            return Layout(shape if 1 <= len(shape) <= MAX_RANK else None)
        rest = shape[:axis] + shape[axis + 1 :]
        if prod(rest) == prod(shape):
            return Layout(rest if 1 <= len(rest) <= MAX_RANK else None)
        if self.has_members and 1 <= len(rest) <= MAX_RANK:
            return Layout(None, axis)
        return Refusal(
            f"its batch has {shape[axis]} members, and ncnn runs one at a time",
            "convert it with a batch of one",
        )

    def has_room(self, operand: str, shape: tuple[int, ...], takes_members: bool = False) -> bool:
        """Whether some blob holds all elements of an operand, or those of one member of its batch.

        `takes_members`: of any axis that pnnx takes for the batch, not only of the first one.
        """
        axis = self.left_out(operand)
        if axis is None or axis == NO_BATCH:
            return len(shape) <= MAX_RANK
        if shape[axis : axis + 1] != (1,) and (axis or not self.has_members):
            if takes_members and self.has_members and axis == self.axis(operand):
                return 1 < len(shape) <= MAX_RANK + 1
            return not self.is_single  # else pnnx took another axis for the batch
        return 1 < len(shape) <= MAX_RANK + 1

    def is_plain(self, operand: str, shape: tuple[int, ...]) -> bool:
        """Whether one blob of certain layout holds all elements of an operand."""
        layout = self.layout(operand, shape)
        return self.has_room(operand, shape) and isinstance(layout, Layout) and layout.blob is not None
