"""Which torch axis each blob leaves out: what pnnx decided, checked against what `_ncnn.py` says."""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

from pnnxfix.graph.batch_axis import NO_BATCH, solve_batch_axes
from pnnxfix.graph.shapes import Annotations
from pnnxfix.rules.base import Refusal

if TYPE_CHECKING:
    from pnnxfix.pipeline.loaded import LoadedConversion


class BatchAxes:
    """The batch axis of each operand of the pnnx graph of a conversion that has one."""

    def __init__(self, loaded: LoadedConversion) -> None:
        self._loaded = loaded

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
        solved = solve_batch_axes(graph, Annotations(graph))
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
