"""The batch axis of every operand of a pnnx graph, solved the way pnnx solves it.

pnnx leaves the batch axis out of ncnn's blobs. It knows the axis at operators with a fixed
layout and passes it on from operand to operand in both directions; the first answer for an
operand stays. No file holds the result, so it is worked out again here. Source: pnnx,
pass_ncnn/solve_batch_index (July 2026), and the `_ncnn.py` of conversions since 20240226.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.shapes import Annotations

NO_BATCH = 233

_FUNCTIONS = """adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
    adaptive_max_pool2d adaptive_max_pool3d affine_grid avg_pool1d avg_pool2d avg_pool3d batch_norm
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d embedding fold grid_sample
    group_norm instance_norm interpolate layer_norm linear local_response_norm lp_pool1d lp_pool2d
    max_pool1d max_pool2d max_pool3d pixel_shuffle pixel_unshuffle prelu rms_norm unfold upsample
    upsample_bilinear upsample_nearest"""
_MODULES = """AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d
    AdaptiveMaxPool3d AvgPool1d AvgPool2d AvgPool3d BatchNorm1d BatchNorm2d BatchNorm3d ChannelShuffle
    ConstantPad1d ConstantPad2d ConstantPad3d Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d
    ConvTranspose3d Embedding Fold GroupNorm InstanceNorm1d InstanceNorm2d InstanceNorm3d
    LocalResponseNorm LayerNorm LPPool1d LPPool2d MaxPool1d MaxPool2d MaxPool3d PixelShuffle
    PixelUnshuffle PReLU ReflectionPad1d ReflectionPad2d ReplicationPad1d ReplicationPad2d
    ReplicationPad3d RMSNorm Softmax2d Unfold Upsample UpsamplingBilinear2d UpsamplingNearest2d
    ZeroPad2d"""
_BATCH_FIRST = frozenset(
    [f"F.{name}" for name in _FUNCTIONS.split()]
    + [f"nn.{name}" for name in _MODULES.split()]
    + ["torch.bmm", "torch.istft", "torch.stft"]
)
_RECURRENT = frozenset({"nn.RNN", "nn.LSTM", "nn.GRU", "nn.MultiheadAttention"})
_ATTENTION = "F.scaled_dot_product_attention"
# Rank of an input without batch axis, where that is allowed.
_UNBATCHED_RANK = {"pool1d": 2, "pool2d": 3, "pool3d": 4}


def solve_batch_axes(graph: Graph, shapes: Annotations, has_members: bool = True) -> dict[str, int]:
    """The batch axis of each operand, in torch's numbering; NO_BATCH where there is none.

    `has_members`: pnnx is of 20261020 or later, whose blobs may hold several members of a batch.
    Cost: linear in the graph.
    """
    return _Solver(graph, shapes, has_members).solve()


@dataclass(frozen=True, slots=True)
class _Answer:
    """The axis of an operand that an operator reads or makes."""

    name: str
    axis: int
    is_input: bool


def _has_own_layout(operator: Operator) -> bool:
    return operator.type in _BATCH_FIRST or operator.type in _RECURRENT or operator.type == _ATTENTION


class _Solver:
    def __init__(self, graph: Graph, shapes: Annotations, has_members: bool) -> None:
        self._graph = graph
        self._shapes = shapes
        self._movers = _MOVERS if has_members else _MOVERS - _MOVERS_OF_MEMBERS
        self._operators = [graph.original(handle) for handle in graph]
        self._users: dict[str, list[Operator]] = {}
        self._makers: dict[str, Operator] = {}
        for operator in self._operators:
            for name in operator.inputs:
                self._users.setdefault(name, []).append(operator)
            for name in operator.outputs:
                self._makers[name] = operator
        self._axes: dict[str, int] = {}

    def solve(self) -> dict[str, int]:
        for operator in self._operators:
            self._seed(operator)
        for operator in self._operators:
            for name in operator.inputs:
                self._spread(self._backward(name))
            for name in operator.outputs:
                self._spread(self._forward(name))
        for name in self._makers:
            if self._rank(name) == 1:
                self._axes[name] = NO_BATCH
            self._axes.setdefault(name, NO_BATCH)
        return self._axes

    def _shape(self, name: str) -> tuple[int, ...]:
        found = self._shapes.find(name)
        return () if found is None else found[0]

    def _rank(self, name: str) -> int:
        return len(self._shape(name))

    # where the axis is known

    def _seed(self, operator: Operator) -> None:
        kind = operator.type
        if kind == _ATTENTION:
            for name in (*operator.inputs, *operator.outputs):
                self._axes[name] = 0 if self._rank(name) in (0, 4) or self._rank(name) > 3 else NO_BATCH
        elif kind in _BATCH_FIRST and operator.inputs and operator.outputs:
            rank = self._rank(operator.inputs[0])
            low = kind.lower()
            unbatched = any(word in low and rank == small for word, small in _UNBATCHED_RANK.items())
            unbatched = unbatched or (kind, rank) in {("torch.stft", 1), ("torch.istft", 2)}
            axis = NO_BATCH if unbatched else 0
            second = operator.inputs[1:2] if kind in {"F.grid_sample", "torch.bmm"} else ()
            for name in (operator.inputs[0], *second, operator.outputs[0]):
                self._axes[name] = axis
        elif kind in _RECURRENT and operator.inputs and operator.outputs:
            axis = 0 if operator.parameter("batch_first") == "True" else 1
            for name in operator.inputs[1:]:
                self._axes[name] = axis if kind == "nn.MultiheadAttention" else 1
                if f"$attn_mask={name}" in operator.rest:
                    self._axes[name] = NO_BATCH
            for name in operator.outputs[1:]:
                self._axes[name] = 1
            self._axes[operator.inputs[0]] = self._axes[operator.outputs[0]] = axis

    # from operand to operand

    def _spread(self, answers: Iterator[_Answer]) -> None:
        """Pass an axis on as far as nobody has answered before; depth first, so that the same are first."""
        pending = [answers]
        while pending:
            found = next(pending[-1], None)
            if found is None:
                pending.pop()
            elif found.name not in self._axes:
                self._axes[found.name] = found.axis
                ways = [self._forward(found.name), self._backward(found.name)]
                pending.extend(ways if found.is_input else reversed(ways))

    def _forward(self, name: str) -> Iterator[_Answer]:
        """What an operand's axis means for what its readers make."""
        axis = self._axes.get(name, NO_BATCH)
        for operator in self._users.get(name, ()) if 0 <= axis < NO_BATCH else ():
            answer: int | None = axis
            if _has_own_layout(operator):
                continue
            if operator.type in self._movers:
                answer = self._move(operator, axis) if name == operator.inputs[0] else None
            if answer is not None:
                yield from (_Answer(result, answer, is_input=False) for result in operator.outputs)

    def _backward(self, name: str) -> Iterator[_Answer]:
        """What an operand's axis means for what its maker reads."""
        axis, operator = self._axes.get(name, NO_BATCH), self._makers.get(name)
        if operator is None or not operator.inputs or not 0 <= axis < NO_BATCH or _has_own_layout(operator):
            return
        if operator.type in self._movers:
            answer = self._move_back(operator, axis)
            if answer is not None:
                yield _Answer(operator.inputs[0], answer, is_input=True)
            return
        for source in operator.inputs:
            lower = operator.type == "pnnx.Expression" and self._fits_without(source, name, axis)
            yield _Answer(source, NO_BATCH if lower else axis, is_input=True)

    def _fits_without(self, source: str, result: str, axis: int) -> bool:
        """Whether an operand of lower rank broadcasts to a result whose batch axis is left out."""
        small, wide = self._shape(source), self._shape(result)
        if len(small) >= len(wide) or axis >= len(wide):
            return False
        rest = wide[:axis] + wide[axis + 1 :]
        padded = (1,) * (len(rest) - len(small)) + small
        return all(size in (1, want) for size, want in zip(padded, rest, strict=True))

    # operators that move axes

    def _move(self, operator: Operator, axis: int) -> int | None:
        """Where an axis of the first input is in the result; None: the trace is lost."""
        have, want = self._shape(operator.inputs[0]), self._shape(operator.outputs[0])
        order = axis_map(operator, have, len(have))
        if order is not None:
            return order.index(axis) if axis in order else NO_BATCH
        return _reshaped_axis(have, want, axis)

    def _move_back(self, operator: Operator, axis: int) -> int | None:
        have, want = self._shape(operator.inputs[0]), self._shape(operator.outputs[0])
        order = axis_map(operator, have, len(have) or len(want))
        if order is not None and operator.type == "torch.flatten" and order[axis : axis + 1] == [-1]:
            return axis if have == want else None
        if order is not None:
            return (order[axis] if order[axis] >= 0 else NO_BATCH) if axis < len(order) else None
        return _reshaped_axis(want, have, axis)


def axis_map(operator: Operator, shape: tuple[int, ...], rank: int) -> list[int] | None:
    """For each axis of the result the one of the first input that it is, -1 if new; None for a reshape.

    `shape` and `rank` are the input's.
    """
    kind = operator.type
    axes = list(range(rank))
    if kind in {"Tensor.permute", "torch.permute"}:
        return [dim % rank if rank else dim for dim in _integers(operator.parameter("dims"))]
    if kind == "torch.t":
        return axes[::-1]
    if kind == "torch.transpose":
        first, second = (_integers(operator.parameter(key))[0] for key in ("dim0", "dim1"))
        first, second = first % max(rank, 1), second % max(rank, 1)
        if max(first, second) < len(axes):
            axes[first], axes[second] = axes[second], axes[first]
        return axes
    if kind == "Tensor.select":
        dim = _integers(operator.parameter("dim"))[0]
        axes.pop(dim % max(rank, 1))
        return axes
    if kind == "torch.unsqueeze":
        dim = _integers(operator.parameter("dim"))[0] % (rank + 1)
        return [*axes[:dim], -1, *axes[dim:]]
    if kind == "torch.squeeze":
        text = operator.parameter("dim")
        dims = axes if text in {None, "None"} else [dim % max(rank, 1) for dim in _integers(text)]
        return [axis for axis in axes if not (axis in dims and shape[axis : axis + 1] == (1,))]
    if kind == "Tensor.slice":
        return _sliced_axes(operator, axes)
    if kind == "torch.flatten":
        ends = (_integers(operator.parameter(key))[0] for key in ("start_dim", "end_dim"))
        first, last = (end % max(rank, 1) for end in ends)
        return [*axes[:first], -1, *axes[last + 1 :]]
    if kind == "Tensor.unflatten":
        dim = _integers(operator.parameter("dim"))[0] % max(rank, 1)
        return [*axes[:dim], *(-1 for _ in _integers(operator.parameter("sizes"))), *axes[dim + 1 :]]
    return None


_MOVERS = frozenset(
    {
        "Tensor.permute",
        "torch.permute",
        "torch.transpose",
        "torch.t",
        "Tensor.reshape",
        "Tensor.reshape_as",
        "Tensor.unflatten",
        "torch.flatten",
        "Tensor.slice",
        "Tensor.select",
        "torch.squeeze",
        "torch.unsqueeze",
        "pnnx.SliceIndexes",
    }
)


# pnnx took them for operators that leave all axes where they are, until it could run members of a batch.
_MOVERS_OF_MEMBERS = frozenset({"torch.flatten", "Tensor.unflatten", "Tensor.reshape_as"})


def _sliced_axes(operator: Operator, axes: list[int]) -> list[int]:
    """A slice with step 0 selects: that axis goes."""
    dims = _integers(operator.parameter("dims") or operator.parameter("dim"))
    steps = _integers(operator.parameter("steps") or operator.parameter("step"))
    gone = {dim % max(len(axes), 1) for dim, step in zip(dims, steps, strict=False) if step == 0}
    return [axis for axis in axes if axis not in gone]


def _reshaped_axis(have: tuple[int, ...], want: tuple[int, ...], axis: int) -> int | None:
    """The axis of the new shape that pnnx takes for the same axis of the old one, if it takes any."""
    if axis >= len(have) or not want or -1 in have or -1 in want:
        return 0 if axis == 0 and have[:1] == want[:1] == (1,) else None
    size = have[axis]
    if axis == 0 and want[0] == size:
        return 0
    if axis == len(have) - 1 and want[-1] == size:
        return len(want) - 1
    left, right = prod(have[:axis]), prod(have[axis + 1 :])
    found = None
    for at in range(1, len(want)):
        if prod(want[:at]) == left and want[at] == size:
            found = None if want[at + 1 : at + 2] == (size,) else at
            break
    for at in range(len(want) - 2, -1, -1):
        if prod(want[at + 1 :]) == right and want[at] == size:
            return None if at and want[at - 1] == size else at
    return found


def _integers(text: str | None) -> list[int]:
    words = (text or "").strip("()[]").split(",")
    return [int(word) for word in words if re.fullmatch("-?[0-9]{1,9}", word)] or [0]
