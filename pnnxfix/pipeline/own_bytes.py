"""Which layers read weights from the `.ncnn.bin`, so that their bytes may not be left there alone."""

from __future__ import annotations

from pnnxfix.graph.graph import Operator

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
