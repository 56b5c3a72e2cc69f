"""Where the weights of each layer lie in a `.bin`, for the layers of the stored conversions."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pnnxfix.graph.graph import Operator

TAG_F16 = 0x01306B47


@dataclass(frozen=True, slots=True)
class Piece:
    """One array in a `.bin`: its first byte, its elements, and whether they are half floats."""

    layer: str
    offset: int
    count: int
    half: bool


def find_weights(layers: list[Operator], data: bytes) -> list[Piece]:
    """Every array of every layer, in order. Raises ValueError where sizes do not add up."""
    pieces: list[Piece] = []
    at = 0
    for layer in layers:
        for count, flagged in _sizes(layer):
            half = flagged and struct.unpack_from("<I", data, at)[0] == TAG_F16
            at += 4 * flagged
            pieces.append(Piece(layer.name, at, count, half))
            size = count * (2 if half else 4)
            at += -(-size // 4) * 4
    if at != len(data):
        raise ValueError(f"{at} bytes of weights in a file of {len(data)}")
    return pieces


def _sizes(layer: Operator) -> Iterator[tuple[int, bool]]:
    def number(key: str, default: int = 0) -> int:
        return int(layer.parameter(key) or default)

    match layer.type:
        case (
            "Convolution"
            | "ConvolutionDepthWise"
            | "Convolution1D"
            | "ConvolutionDepthWise1D"
            | "Deconvolution"
        ):
            yield number("6"), True
            if number("5"):
                yield number("0"), False
        case "InnerProduct":
            yield number("2"), True
            if number("1"):
                yield number("0"), False
        case "Gemm":
            if number("5"):
                yield number("8") * number("9"), True
            if number("6") and number("10", -1) != -1:
                yield number("8"), True
        case "LayerNorm" | "GroupNorm":
            size = number("0") if layer.type == "LayerNorm" else number("1")
            yield from ((size, False), (size, False))
        case "BatchNorm":
            yield from ((number("0"), False),) * 4
        case "PReLU":
            yield number("0"), False
        case "Embed":
            yield number("3"), True
        case "LSTM":
            hidden = number("3", number("0")) or number("0")
            yield number("1"), True
            yield 4 * hidden, True
            yield 4 * hidden * hidden, True
        case "GRU":
            hidden, ways = number("0"), 1 + (number("2") == 2)
            yield number("1"), True
            yield 4 * hidden * ways, True
            yield 3 * hidden * hidden * ways, True
        case "InstanceNorm":
            yield from ((number("0"), False),) * 2
        case "MultiHeadAttention":
            size = number("0")
            inner = number("2") // size
            for rows in (size, size, size, inner):
                yield number("2"), True
                yield rows, False
        case "MemoryData":
            sizes = [number(key) for key in ("0", "1", "11", "2")]
            count = 1
            for one in sizes:
                count *= max(one, 1)
            yield count, False
