"""What is certain about a blob of an ncnn graph: its layout, its elements, its kind of number.

Walks from a blob towards the inputs, as far as layers are met whose output is known from their
type alone. Anything else ends in "not certain", never in a guess. Axes count from the outermost.
Source: ncnn's layers, and the batch rule that pnnx applies to operators of fixed layout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pnnxfix.graph.graph import Graph, Operator

NO_BATCH = 233
"""pnnx's mark for a tensor without batch axis: its blob keeps all axes."""

MAX_RANK = 4
"""The most axes that a blob has."""


class Blob(NamedTuple):
    """`batch_axis`: the torch axis that the blob leaves out, NO_BATCH if none, None if not certain.

    `rank` is the number of axes that the blob has, None if not certain. `dims` are the
    sizes of a constant blob, outermost first, None for every other. `is_single`: certainly one
    element. `is_float` says whether it certainly holds floats (or certainly not).
    """

    batch_axis: int | None = None
    rank: int | None = None
    dims: tuple[int, ...] | None = None
    is_single: bool = False
    is_float: bool | None = None

    def beside(self, shape: tuple[int, ...] | None) -> Blob:
        """The same, once torch's shape of the tensor is known: does the blob leave out an axis?"""
        if shape is None or self.rank is None or self.dims is not None:
            return self
        if self.rank == len(shape):
            return self._replace(batch_axis=NO_BATCH)
        return (
            self if self.rank == len(shape) - 1 and self.batch_axis == 0 else self._replace(batch_axis=None)
        )


UNKNOWN_BLOB = Blob()

# Their torch operators have a fixed layout with the batch, if any, in front; they compute floats.
_RANK_OF_RESULT = {
    **dict.fromkeys(
        ("Convolution1D", "ConvolutionDepthWise1D", "Deconvolution1D", "DeconvolutionDepthWise1D"), 2
    ),
    **dict.fromkeys(("Convolution", "ConvolutionDepthWise", "Deconvolution", "DeconvolutionDepthWise"), 3),
    **dict.fromkeys(
        ("Convolution3D", "ConvolutionDepthWise3D", "Deconvolution3D", "DeconvolutionDepthWise3D"), 4
    ),
    "PixelShuffle": 3,
    "Gemm": 2,
}
# Same layout out as in; they compute floats.
_ELEMENTWISE = frozenset(
    [
        "AbsVal",
        "BatchNorm",
        "BNLL",
        "Bias",
        "CELU",
        "Clip",
        "CumulativeSum",
        "Dropout",
        "ELU",
        "Erf",
        "Exp",
        "GELU",
        "GroupNorm",
        "HardSigmoid",
        "HardSwish",
        "InstanceNorm",
        "LayerNorm",
        "Log",
        "LRN",
        "Mish",
        "Power",
        "PReLU",
        "ReLU",
        "RMSNorm",
        "Scale",
        "SELU",
        "Shrink",
        "Sigmoid",
        "Softmax",
        "Softplus",
        "Swish",
        "TanH",
        "Threshold",
        "UnaryOp",
    ]
)
# Same layout and the same numbers.
_COPIES = frozenset({"Split", "Noop"})
# They move or cut axes, but keep the kind of number.
_MOVES = frozenset(
    [
        "Concat",
        "Crop",
        "ExpandDims",
        "Flatten",
        "Packing",
        "Padding",
        "Permute",
        "Reorg",
        "Reshape",
        "ShuffleChannel",
        "Slice",
        "Squeeze",
        "Tile",
        "Flip",
    ]
)
# Any layout, but floats for certain.
_FLOAT_RESULT = frozenset(
    [
        "DeformableConv2D",
        "Einsum",
        "Eltwise",
        "Embed",
        "Fold",
        "GridSample",
        "GRU",
        "InnerProduct",
        "Interp",
        "InverseSpectrogram",
        "LSTM",
        "MatMul",
        "MultiHeadAttention",
        "MVN",
        "Normalize",
        "Pooling",
        "Pooling1D",
        "Pooling3D",
        "RNN",
        "RotaryEmbed",
        "SDPA",
        "Spectrogram",
        "Unfold",
    ]
)
_LONGEST_WALK = 10_000

InputFacts = Callable[[str], Blob]


class BlobFacts:
    """Answers for the blobs of one graph; `describe_input` tells what is known of an Input's blob."""

    def __init__(self, graph: Graph, describe_input: InputFacts) -> None:
        self._graph = graph
        self._describe_input = describe_input
        self._known: dict[str, Blob] = {}

    def __getitem__(self, blob: str) -> Blob:
        """Cost: the layers walked over, each of them once for all questions."""
        pending = [blob]
        opened: set[str] = set()
        steps = 0
        while pending:
            name = pending[-1]
            steps += 1
            if name in self._known or steps > _LONGEST_WALK:
                pending.pop()
                continue
            maker = self._graph.maker(name)
            asked = self._asks(maker)
            missing = [source for source in asked if source not in self._known]
            if missing and opened.isdisjoint(missing):
                opened.add(name)
                pending.extend(missing)
                continue
            pending.pop()
            sources = [self._known.get(source, UNKNOWN_BLOB) for source in asked]
            self._known[name] = UNKNOWN_BLOB if maker is None else self._derive(name, maker, sources)
        return self._known.get(blob, UNKNOWN_BLOB)

    @staticmethod
    def _asks(maker: Operator | None) -> tuple[str, ...]:
        """The inputs on which an answer about a layer's output depends."""
        if maker is None:
            return ()
        known = maker.type in _ELEMENTWISE or maker.type in _COPIES or maker.type in _MOVES
        return maker.inputs if known or maker.type in {"BinaryOp", "Reduction"} else ()

    def _derive(self, blob: str, maker: Operator, sources: list[Blob]) -> Blob:
        kind = maker.type
        if kind == "Input":
            return self._describe_input(blob)
        if kind == "MemoryData":
            return _constant(maker)
        if kind in _RANK_OF_RESULT:
            return Blob(batch_axis=0, rank=_RANK_OF_RESULT[kind], is_float=True)
        if kind == "Reduction" and sources:
            if maker.parameter("4") == "1":
                return sources[0]._replace(dims=None, is_single=False, is_float=True)
            # 1=1 (the default) reduces all axes, and without 4=1 to a single element.
            return Blob(is_single=maker.parameter("1") in {None, "1"}, is_float=True)
        if kind in _COPIES and sources:
            return sources[0]
        if kind in _ELEMENTWISE and sources:
            return sources[0]._replace(dims=None, is_float=True)
        if kind == "BinaryOp" and sources:
            layouts = {(s.batch_axis, s.rank) for s in sources if not s.is_single and s.dims is None}
            axis, rank = layouts.pop() if len(layouts) == 1 else (None, None)
            return Blob(axis, rank, is_single=all(source.is_single for source in sources), is_float=True)
        if kind == "Reshape" and sources and sources[0].dims is not None:
            return _constant(maker)
        if kind in _MOVES:
            rank = None
            if kind == "Reshape" and all(
                word.partition("=")[0] in {"0", "1", "2", "11"} for word in maker.rest
            ):
                rank = len(maker.rest)
            kinds = {source.is_float for source in sources}
            return Blob(rank=rank, is_float=kinds.pop() if len(kinds) == 1 else None)
        return Blob(is_float=True) if kind in _FLOAT_RESULT else UNKNOWN_BLOB


def _constant(maker: Operator) -> Blob:
    """A MemoryData, or the Reshape of one: both give their sizes under the same keys."""
    sizes = [maker.parameter(key) for key in ("2", "11", "1", "0")]
    words = [size for size in sizes if size is not None and size != "0"]
    if not words or not all(word.isascii() and word.isdigit() and len(word) < 10 for word in words):
        return UNKNOWN_BLOB
    dims = tuple(int(word) for word in words)
    return Blob(rank=len(dims), dims=dims, is_single=dims == (1,))
