"""Operators whose results no layers of ncnn can compute, whatever they are given."""

from __future__ import annotations

from typing import NoReturn

from pnnxfix.rules.cases import Refused
from pnnxfix.rules.lowering.builder import Builder, NotExpressible
from pnnxfix.rules.lowering.family import Family, Lower

_HELP = "compute it in your program from the blob before"
_CONV = {"c": "nn.Conv2d(3, 4, 1)"}
_IMAGE = "f32[1,3,6,5]"
_LENGTHS = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")


def _refuse(reason: str) -> Lower:
    def lower(_: Builder, *_arguments: object) -> NoReturn:
        raise NotExpressible(reason, _HELP)

    return lower


_COUNTED = _refuse("how many numbers it gives depends on what it is given, and ncnn's sizes do not")
_RANDOM = _refuse("its result is random, and ncnn has no random numbers")
_ORDER = _refuse("ncnn has no layer that puts elements in order")
_FOURIER = _refuse("it is a Fourier transform, whose complex numbers ncnn does not have")


class Inexpressible(Family):
    """What needs sizes that depend on numbers, an order, random numbers or complex ones.

    What it finds: `aten::nonzero`, `torch.masked_select`, `torch.topk`, `torch.fft.rfft` and their like
    in `.ncnn.param`.

    Why it breaks: ncnn has no such layer and refuses to load the graph.

    Repair: none. Where nothing but such work comes behind it, `pnnxfix fix --cut` ends the network before
    it (PNX206).

    Limits: all of it.

    Example:
        aten::nonzero   pnnx_214   1 1 66 67

    Source: ATen native_functions.yaml; ncnn's layers.
    """

    code = "PNX136"
    name = "inexpressible-operator"
    fixable = "never"
    is_expressible = False
    operators = {  # noqa: RUF012 a table, never changed
        "aten::nonzero(Tensor self) -> Tensor": _COUNTED,
        "aten::nonzero_static(Tensor self) -> Tensor": _COUNTED,
        "aten::_unique2(Tensor self) -> Tensor": _COUNTED,
        "aten::unique_consecutive(Tensor self) -> Tensor": _COUNTED,
        "torch.masked_select(Tensor input, Tensor mask) -> Tensor": _COUNTED,
        "aten::multinomial(Tensor self) -> Tensor": _RANDOM,
        "torch.topk(Tensor input) -> Tensor": _ORDER,
        **{f"torch.fft.{name}(Tensor input) -> Tensor": _FOURIER for name in _LENGTHS},
        **{f"torch.fft.{name}2(Tensor input) -> Tensor": _FOURIER for name in _LENGTHS},
        **{f"torch.fft.{name}n(Tensor input) -> Tensor": _FOURIER for name in _LENGTHS},
    }
    cases = (
        Refused("torch.nonzero(c(x) > 0.2)", id="nonzero-places", because="depends on what it is given",
                setup=_CONV, x=_IMAGE),
        Refused("torch.fft.rfft(c(x)).abs()", id="rfft", because="Fourier", setup=_CONV, x=_IMAGE),
        Refused("v, i = torch.topk(c(x).flatten(1), 3)\nreturn v * 2", id="topk-values", because="order",
                setup=_CONV, x=_IMAGE),
        Refused("y = c(x)\nv, i = torch.sort(y)\nreturn v * 2, y.relu(), y", id="sort-beside-outputs",
                because="order", setup=_CONV, x=_IMAGE),
        Refused("y = c(x).unbind(0)[0].unsqueeze(0)\n"
                "z = d(y).softmax(1).permute(0, 2, 3, 1).reshape(1, 6, 10)\nreturn torch.nonzero(z > 0.2)",
                id="places-behind-a-lost-batch", because="depends on what it is given",
                setup={**_CONV, "d": "nn.Conv2d(4, 2, 1)"}, x=_IMAGE),
        Refused("v, i = torch.sort(c(x))\nreturn d(v)", id="sort-before-weights", because="order",
                setup={**_CONV, "d": "nn.Conv2d(4, 2, 1)"}, x=_IMAGE),
    )  # fmt: skip
