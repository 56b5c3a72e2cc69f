"""Finds divisions and roundings that pnnx wrote without their rounding_mode or decimals.

The TorchScript file beside the conversion still has the argument. pnnx writes `torch.div` as `div_0`, with
rounding_mode="trunc" as `floor_divide_0`, and never one that rounds down.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import isclose, isnan, nan
from typing import TYPE_CHECKING

from pnnxfix.codecs.number import read_printed, spell_for_ncnn
from pnnxfix.errors import PnnxfixError
from pnnxfix.graph.graph import Operator
from pnnxfix.pipeline.discovery import TORCHSCRIPT
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.rules.base import Layer, Lowering

if TYPE_CHECKING:
    from pnnxfix.codecs.torchscript import TracedCall

_KINDS = {"div": "BinaryOp", "floor_divide": "BinaryOp", "round": "UnaryOp"}
_OPERATORS = ("aten::div", "aten::divide", "aten::true_divide", "aten::floor_divide", "aten::round")
_DIVISIONS = {"3": "3", "8": "8", "15": "3", "16": "8"}
"""BinaryOp's operation 0 of a division that rounds or not, and that of one that does not."""
_FLOOR, _ROUND, _TRUNC = "2", "18", "19"
_PRINTED = 1e-5
_MOST_DECIMALS = 10
"""Powers of ten up to here are float32 numbers."""


def find_dropped(loaded: LoadedConversion) -> Iterator[tuple[int, int, str, Lowering | None]]:
    """The layers, -1 for their operator, the reason, and what to write where it is certain which they are."""
    assert loaded.ncnn is not None
    from pnnxfix.codecs.torchscript import read_calls

    try:
        code = read_calls(loaded.files[TORCHSCRIPT], _OPERATORS)
    except (OSError, PnnxfixError):
        return  # not every .pt is TorchScript; then it tells nothing
    calls: defaultdict[str, list[tuple[str, float | None]]] = defaultdict(list)
    for call in code.calls if code.certain else ():
        name, argument = _describe(call)
        calls[name].append((argument, _find_operand(call)))
    graph = loaded.ncnn.graph
    layers: defaultdict[str, list[int]] = defaultdict(list)
    for handle in graph.of_types(set(_KINDS.values())):
        kind, called = graph.type_and_name(handle)
        name, _, number = called.rpartition("_")
        if _KINDS.get(name) == kind and number.isdigit():
            layers[name].append(handle)
    for name, handles in layers.items():
        given = {argument for argument, _ in calls[name]}
        dropped = given - {""}
        # A call may have been folded away, and a layer come from elsewhere: their numbers must be the same.
        numbers = [number for _, number in calls[name]]
        is_certain = len(given) == 1 and _are_alike(
            numbers, [_read_number(graph.original(h)) for h in handles]
        )
        for handle in handles if dropped else ():
            reason = f"pnnx dropped {' and '.join(sorted(dropped))}"
            if is_certain:
                yield handle, -1, reason, _rewrite(graph.original(handle), *dropped)
            else:
                yield handle, -1, f"{reason} of this layer, or of another one of the name", None


def _describe(call: TracedCall) -> tuple[str, str]:
    """The name that pnnx gives the layer of a call, and the argument that it drops."""
    if call.operator == "aten::round":
        decimals = call.literal("decimals", 1)
        return "round", f"decimals={decimals}" if decimals else ""
    mode = call.literal("rounding_mode", 2)
    rounds = call.operator == "aten::floor_divide" or mode == "trunc"
    return "floor_divide" if rounds else "div", f"rounding_mode={mode!r}" if mode else ""


def _find_operand(call: TracedCall) -> float | None:
    """The number that a division has as an operand, nan for none, None for a constant that is not printed."""
    operands = () if call.operator == "aten::round" else call.arguments[:2]
    if any(operand.text.startswith("CONSTANTS.") for operand in operands):
        return None
    return next((float(one.value) for one in operands if isinstance(one.value, int | float)), nan)


def _read_number(layer: Operator) -> float:
    """The number that a BinaryOp has as an operand, nan for none."""
    number = read_printed(layer.parameter("2") or "") if layer.parameter("1") == "1" else None
    return nan if number is None else float(number.value)


def _are_alike(traced: Sequence[float | None], written: Sequence[float]) -> bool:
    """Whether the numbers can be the same ones, but for the digits that pnnx does not print."""
    left = list(written)
    for one in traced:
        if one is not None:
            at = next((at for at, other in enumerate(left) if _is_same(one, other)), None)
            if at is None:
                return False
            del left[at]
    return len(left) == sum(one is None for one in traced)


def _is_same(one: float, other: float) -> bool:
    return isclose(one, other, rel_tol=_PRINTED) or (isnan(one) and isnan(other))


def _rewrite(layer: Operator, argument: str) -> Lowering | None:
    """What the layer was to be; None where it is another function already."""
    name, _, value = argument.partition("=")
    operation = layer.parameter("0") or "0"
    if name == "decimals":
        return _round(layer, int(value)) if operation == _ROUND else None
    if operation not in _DIVISIONS:
        return None
    words = tuple(word for word in layer.rest if not word.startswith("0="))
    rounding = _TRUNC if "trunc" in value else _FLOOR
    return Lowering.chain(
        [
            Layer("BinaryOp", layer.inputs, (f"0={_DIVISIONS[operation]}", *words)),
            Layer("UnaryOp", ("@0",), (f"0={rounding}",)),
        ]
    )


def _round(layer: Operator, decimals: int) -> Lowering | None:
    """To whole multiples of a power of ten. Source: ATen, round_decimals_kernel."""
    if abs(decimals) > _MOST_DECIMALS:
        return None
    first, last = ("0=2", "0=3") if decimals > 0 else ("0=3", "0=2")
    power = ("1=1", f"2={spell_for_ncnn(10 ** abs(decimals))}")
    return Lowering.chain(
        [
            Layer("BinaryOp", layer.inputs, (first, *power)),
            Layer("UnaryOp", ("@0",), (f"0={_ROUND}",)),
            Layer("BinaryOp", ("@1",), (last, *power)),
        ]
    )
