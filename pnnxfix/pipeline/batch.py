"""Which torch axis each blob leaves out: what pnnx decided, checked against what `_ncnn.py` says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

from pnnxfix.graph.batch_axis import NO_BATCH, solve_batch_axes
from pnnxfix.graph.shapes import Annotations
from pnnxfix.rules.base import Refusal

if TYPE_CHECKING:
    from pnnxfix.pipeline.loaded import LoadedConversion


MAX_RANK = 4
# Source: pnnx, pass_ncnn/convert_batch_layout.
_HANDED_ON = frozenset(
    {
        "Tensor.clone",
        "Tensor.permute",
        "Tensor.reshape",
        "Tensor.reshape_as",
        "Tensor.select",
        "Tensor.slice",
        "Tensor.unflatten",
        "pnnx.Expression",
        "torch.cat",
        "torch.chunk",
        "torch.clamp",
        "torch.flatten",
        "torch.permute",
        "torch.split",
        "torch.t",
        "torch.tensor_split",
        "torch.transpose",
    }
)


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

    def left_out(self, operand: str) -> int | None:
        """The axis that an operand's blob itself leaves out, which may be another than pnnx has in mind."""
        axis = self.axis(operand)
        if not axis or axis == NO_BATCH or not self.has_members:
            return axis
        return None if self._passes_layout(operand) else NO_BATCH

    def layout(self, operand: str, shape: tuple[int, ...]) -> Layout | Refusal:
        """How an operand's blob is laid out. A Refusal where ncnn cannot hold it, or nobody can tell."""
        axis = self.axis(operand)
        if axis is None:
            return Layout(None)
        if axis == NO_BATCH or (axis and self.has_members and not self._passes_layout(operand)):
            # Since 20261020 only a batch that stands first is left out.
            return Layout(shape if 1 <= len(shape) <= MAX_RANK else None)
        rest = shape[:axis] + shape[axis + 1 :]
        if prod(rest) == prod(shape):
            certain = not axis or not self.has_members
            return Layout(rest if certain and 1 <= len(rest) <= MAX_RANK else None)
        if self.has_members and not axis and 1 <= len(rest) <= MAX_RANK:
            return Layout(None, axis)
        return Refusal(
            f"its batch has {shape[axis]} members, and ncnn runs one at a time",
            "convert it with a batch of one",
        )

    def _passes_layout(self, operand: str) -> bool:
        """Whether what makes an operand hands on the layout that it was given."""
        assert self._loaded.pnnx is not None
        maker = self._loaded.pnnx.graph.maker(operand)
        return maker is None or maker.type in _HANDED_ON or maker.type.startswith(("F.", "nn."))

    def has_room(self, operand: str, shape: tuple[int, ...]) -> bool:
        """Whether some blob holds all elements of an operand, or those of one member of its batch."""
        axis = self.axis(operand)
        if (
            axis is None
            or axis == NO_BATCH
            or (axis and self.has_members and not self._passes_layout(operand))
        ):
            return len(shape) <= MAX_RANK
        if shape[axis : axis + 1] != (1,) and (axis or not self.has_members):
            return not self.is_single  # else pnnx took another axis for the batch
        return 1 < len(shape) <= MAX_RANK + 1

    def is_plain(self, operand: str, shape: tuple[int, ...]) -> bool:
        """Whether one blob of certain layout holds all elements of an operand."""
        layout = self.layout(operand, shape)
        return self.has_room(operand, shape) and isinstance(layout, Layout) and layout.blob is not None
