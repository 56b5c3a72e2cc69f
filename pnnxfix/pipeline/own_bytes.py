"""Which layers read weights from the `.ncnn.bin`, so that their bytes may not be left there alone."""

from __future__ import annotations

from math import prod

from pnnxfix.data import known_layers
from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.splits import is_layout_row

# Layers with bytes of their own in the .bin. Source: the load_model functions of ncnn's layers.
_OWN_BYTES = frozenset(
    {
        "BatchNorm",
        "Bias",
        "Convolution",
        "Convolution1D",
        "Convolution3D",
        "ConvolutionDepthWise",
        "ConvolutionDepthWise1D",
        "ConvolutionDepthWise3D",
        "Deconvolution",
        "Deconvolution1D",
        "Deconvolution3D",
        "DeconvolutionDepthWise",
        "DeconvolutionDepthWise1D",
        "DeconvolutionDepthWise3D",
        "DeformableConv2D",
        "Embed",
        "GRU",
        "Gemm",
        "GroupNorm",
        "InnerProduct",
        "InstanceNorm",
        "LSTM",
        "LayerNorm",
        "MemoryData",
        "MultiHeadAttention",
        "Normalize",
        "PReLU",
        "RMSNorm",
        "RNN",
        "Scale",
    }
)
# Layers whose weights are optional, by the parameter that says "0: none".
_AFFINE = {"GroupNorm": "3", "InstanceNorm": "2", "LayerNorm": "2", "RMSNorm": "2"}


def owns_bytes(row: Operator) -> bool:
    """Whether this layer reads weights from the .bin."""
    return row.type in _OWN_BYTES and row.parameter(_AFFINE.get(row.type, "")) != "0"


def find_position(ncnn: Graph, pnnx: Graph, row: int) -> int | None:
    """How many bytes of the .bin belong to the rows before one; None where that is not certain.

    A leaked operator has the bytes of its attributes there, although no layer reads them.
    """
    has_bytes = {
        (operator.type, operator.name): any(word.startswith("@") for word in operator.rest)
        for operator in map(pnnx.original, pnnx)
    }
    position = 0
    for handle in ncnn:
        layer = ncnn.original(handle)
        if handle >= row:
            break
        if layer.type == "MemoryData" and layer.parameter("21") in {None, "1"}:
            sizes = [layer.parameter(key) or "0" for key in ("0", "1", "11", "2")]
            position += 4 * prod(int(size) for size in sizes if size.isdigit() and size != "0")
        elif owns_bytes(layer) or has_bytes.get(
            (layer.type, layer.name), layer.type not in known_layers() and not is_layout_row(layer)
        ):
            return None
    return position
