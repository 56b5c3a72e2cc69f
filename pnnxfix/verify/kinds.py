"""Which operators of PyTorch a layer of ncnn may stand for, by the names that traces give them."""

from __future__ import annotations

import re

from pnnxfix.graph.graph import Operator

_CONV = "conv1d conv2d conv3d convolution lazyconv2d depthwise"
_TRANSPOSED = (
    "convtranspose1d convtranspose2d convtranspose3d conv_transpose1d conv_transpose2d conv_transpose3d"
)
_TABLE = {
    "Convolution": f"{_CONV} linear",
    "ConvolutionDepthWise": _CONV,
    "Convolution1D": _CONV,
    "ConvolutionDepthWise1D": _CONV,
    "Convolution3D": _CONV,
    "Deconvolution": f"{_TRANSPOSED} convolution",
    "DeconvolutionDepthWise": f"{_TRANSPOSED} convolution",
    "Deconvolution1D": f"{_TRANSPOSED} convolution",
    "InnerProduct": "linear addmm matmul mm",
    "Gemm": "linear addmm matmul mm bmm baddbmm",
    "MatMul": "matmul bmm mm baddbmm dot mv",
    "BinaryOp": (
        "add sub rsub mul div divide true_divide pow max min maximum minimum atan2 fmod logaddexp"
        " floor_divide remainder square"
    ),
    "Eltwise": "add sub mul max maximum",
    "UnaryOp": (
        "abs neg floor ceil square sqrt rsqrt exp log sin cos tan asin acos atan reciprocal tanh log10 round"
        " trunc sign expm1 sinh asinh cosh acosh atanh log1p pow log_softmax logsoftmax"
    ),
    "Reshape": (
        "reshape view flatten unflatten squeeze unsqueeze expand view_as reshape_as contiguous"
        " adaptive_avg_pool2d"
    ),
    "Flatten": "flatten reshape view",
    "Squeeze": "squeeze reshape view select",
    "ExpandDims": "unsqueeze reshape view",
    "Permute": "permute transpose t movedim swapaxes numpy_t mt",
    "Crop": "slice select narrow crop index slice_copy",
    "Slice": "chunk split split_with_sizes tensor_split unbind slice",
    "Concat": "cat concat concatenate stack hstack vstack dstack",
    "Pooling": "maxpool2d max_pool2d avgpool2d avg_pool2d adaptiveavgpool2d adaptive_avg_pool2d"
    " adaptive_max_pool2d adaptivemaxpool2d mean lppool2d lp_pool2d",
    "Pooling1D": "maxpool1d max_pool1d avgpool1d avg_pool1d adaptiveavgpool1d adaptive_avg_pool1d"
    " adaptive_max_pool1d adaptivemaxpool1d",
    "Reduction": "sum mean max min prod amax amin norm logsumexp reduction std var",
    "ReLU": "relu leaky_relu leakyrelu clamp clamp_min relu_",
    "Clip": "clamp clip hardtanh relu6 clamp_min clamp_max",
    "Swish": "silu swish",
    "Embed": "embedding",
    "Interp": "interpolate upsample upsample_nearest upsample_bilinear upsample_nearest2d upsample_bilinear2d"
    " upsamplingbilinear2d upsamplingnearest2d upsample_bicubic2d",
    "Padding": "pad constantpad1d constantpad2d reflectionpad2d reflectionpad1d replicationpad2d zeropad2d"
    " constant_pad_nd reflection_pad2d replication_pad2d",
    "LSTM": "lstm",
    "MultiHeadAttention": "multiheadattention",
    "SDPA": "scaled_dot_product_attention",
    "MemoryData": "attribute getattr",
    "Softmax": "softmax softmax2d softmin",
    "Tile": "repeat expand tile repeat_interleave",
    "CumulativeSum": "cumsum",
    "Input": "input",
    "GELU": "gelu",
    "PReLU": "prelu",
    "LayerNorm": "layernorm layer_norm",
    "GroupNorm": "groupnorm group_norm",
    "InstanceNorm": "instancenorm1d instancenorm2d instance_norm",
    "BatchNorm": "batchnorm1d batchnorm2d batchnorm3d batch_norm",
    "Dropout": "dropout",
    "Scale": "mul batch_norm",
    "LRN": "localresponsenorm local_response_norm",
    "Fold": "fold col2im",
    "Unfold": "unfold im2col",
    "RNN": "rnn rnn_tanh",
    "GRU": "gru",
}
_ALLOWED = {layer: frozenset(names.split()) for layer, names in _TABLE.items()}

RELAYOUTS = frozenset(
    ["Reshape", "Flatten", "Squeeze", "ExpandDims", "Permute", "Split", "Noop", "Dropout", "Packing"]
)
"""Layers that only move elements, or their axes."""

_ACTIVATIONS = frozenset(
    [
        "relu",
        "leaky_relu",
        "leakyrelu",
        "clamp",
        "clamp_min",
        "clamp_max",
        "hardtanh",
        "relu6",
        "sigmoid",
        "mish",
        "hardswish",
        "silu",
        "gelu",
        "tanh",
        "elu",
    ]
)
_FUSED = {
    "1": "relu leaky_relu leakyrelu clamp clamp_min",
    "2": "leaky_relu leakyrelu prelu",
    "3": "clamp clip hardtanh relu6 clamp_min clamp_max",
    "4": "sigmoid",
    "5": "mish",
    "6": "hardswish",
}
_FUSING = frozenset(
    [
        "Convolution",
        "ConvolutionDepthWise",
        "Convolution1D",
        "ConvolutionDepthWise1D",
        "Deconvolution",
        "DeconvolutionDepthWise",
        "InnerProduct",
        "Convolution3D",
        "Deconvolution1D",
    ]
)


def is_activation(kind: str) -> bool:
    """Whether an operator of PyTorch changes each element by itself, as what ncnn fuses does."""
    return _plain(kind) in _ACTIVATIONS


def fused_activations(layer: Operator) -> frozenset[str]:
    """What may be fused into a layer, by its parameter 9 (Source: ncnn's fused_activation.h)."""
    word = layer.parameter("9") if layer.type in _FUSING else None
    return frozenset(_FUSED.get(word or "0", "").split())


def may_stand_for(layer: Operator, kind: str) -> bool:
    """Whether a layer may be what became of an operator."""
    kind = _plain(kind)
    if kind in _ALLOWED.get(layer.type, ()):
        return True
    return kind.replace("_", "") == _plain(layer.type).replace("_", "")


def is_fused_into(layer: Operator, kind: str) -> bool:
    """Whether an activation may be fused into a layer."""
    return _plain(kind) in fused_activations(layer)


def _plain(kind: str) -> str:
    return re.sub(r"_$", "", kind.rpartition(".")[2].lower())


def may_be_same(kind: str, other: str) -> bool:
    """Whether two names that PyTorch gives to operators may be one operator."""
    a, b = _plain(kind).replace("_", ""), _plain(other).replace("_", "")
    return a == b or any(_plain(kind) in names and _plain(other) in names for names in _ALLOWED.values())
