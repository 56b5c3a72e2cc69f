"""Modules that a network calls more than once."""

from __future__ import annotations

from collections.abc import Sequence

from pnnxfix.rules.cases import Case
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.family import Family

_SHARE = (
    "(lambda e, f: (setattr(f, 'weight', e.weight), setattr(f, 'bias', e.bias), nn.ModuleList([e, f]))[2])"
    "({0}, {0})"
)


def _conv2d(
    b: Builder,
    operands: Sequence[Value],
    in_channels: int,
    out_channels: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    bias: bool,
    padding_mode: str,
) -> Value:
    """A convolution whose weights are blobs: the own ones, of which the first operands are copies."""
    if b.own_type() != "nn.Conv2d" or len(operands) != 2 + bias:
        raise NotExpressible("a convolution that shares its weights with no other")
    if padding_mode != "zeros" or len(padding) != 2:
        raise NotExpressible(f"a padding of {padding} by {padding_mode}")
    x = operands[-1]
    weights = b.own_weights()
    weight = weights["weight"]
    wanted = (out_channels, in_channels // groups, *kernel_size)
    shapes = [value.shape for value in operands[:-1]]
    if x.rank != 4 or x.shape[:2] != (1, in_channels) or weight.shape != wanted or wanted not in shapes:
        raise NotExpressible(f"a convolution of {x.shape} with weights of {weight.shape}")
    sizes = [
        (size + 2 * pad - step * (kernel - 1) - 1) // jump + 1
        for size, pad, step, kernel, jump in zip(
            x.shape[2:], padding, dilation, kernel_size, stride, strict=True
        )
    ]
    inputs = [b.as_blob(x, x.shape[1:]), weight, *([weights["bias"]] if bias else [])]
    words = {"0": out_channels, "1": kernel_size[1], "11": kernel_size[0], "12": dilation[0], "13": stride[0],
             "14": padding[0], "19": 1, "2": dilation[1], "3": stride[1], "4": padding[1], "5": int(bias),
             "6": weight.size}  # fmt: skip
    kind = "Convolution" if groups == 1 else "ConvolutionDepthWise"
    if groups != 1:
        words["7"] = groups
    parameters = [f"{key}={value}" for key, value in words.items()]
    return b.layer(kind, inputs, parameters, (1, out_channels, *sizes), (out_channels, *sizes))


class SharedModule(Family):
    """A convolution that the network calls more than once.

    What it finds: `nn.Conv2d` with its weights as further inputs in `.ncnn.param`: the position encodings
    of coat, which two blocks have in common.

    Why it breaks: pnnx makes inputs of weights that two operators share, and then knows no layer.

    Repair: a Convolution or ConvolutionDepthWise that reads its weights from blobs (19=1). They are
    MemoryData of the bytes that pnnx has written for the operator into the `.ncnn.bin`.

    Limits: a batch of one, padding with zeros.

    Example:
        nn.Conv2d      conv     3 1 5 6 7 8
        MemoryData     conv_0   0 1 conv_1 0=4
        MemoryData     conv_1   0 1 conv_2 0=3 1=3 11=4 2=4
        Convolution    conv     3 1 7 conv_2 conv_1 8 0=4 1=3 11=3 ... 19=1

    Source: coat, converted by 20261020; ncnn convolution.cpp.
    """

    code = "PNX137"
    name = "shared-module"
    operators = {  # noqa: RUF012 a table, never changed
        "nn.Conv2d(Tensor[] operands, int in_channels, int out_channels, int[] kernel_size, int[] stride,"
        " int[] padding, int[] dilation, int groups, bool bias, str padding_mode) -> Tensor": _conv2d,
    }
    cases = (
        Case(
            "c[1](F.relu(c[0](x))), d[1](d[0](x))",
            id="shared-convolution",
            setup={
                "c": _SHARE.format("nn.Conv2d(4, 4, (3, 1), stride=(2, 1), padding=(3, 0), dilation=(2, 1))"),
                "d": _SHARE.format(
                    "nn.Conv2d(4, 4, (1, 3), stride=(2, 1), padding=(0, 1), groups=2, bias=False)"
                ),
            },
            x="f32[1,4,6,7]",
        ),
    )
