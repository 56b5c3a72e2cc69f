"""Interpolation of sequences, images and volumes."""

from __future__ import annotations

from collections.abc import Sequence

from pnnxfix.rules.cases import Case
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.family import Family
from pnnxfix.rules.lowering.resampling import resample


def _interpolate(
    b: Builder,
    x: Value,
    size: Sequence[int] | None,
    scale_factor: Sequence[float] | float | None,
    mode: str | None,
    align_corners: bool | None,
    recompute_scale_factor: bool | None,
    antialias: bool | None,
) -> Value:
    """F.interpolate and F.upsample; the result's own shape says the sizes."""
    if antialias:
        raise NotExpressible("interpolation with antialias")
    target = b.result_shapes[0]
    if target is None:
        raise NotExpressible("the shape of the result is not in the files")
    count = x.rank - 2
    scales: list[float | None] = [None] * count
    if scale_factor is not None and not recompute_scale_factor:
        given = (scale_factor,) * count if isinstance(scale_factor, int | float) else tuple(scale_factor)
        scales = list(given * count if len(given) == 1 else given)
    return resample(b, x, target[2:], scales, mode or "nearest", align_corners is True)


def _nearest(
    b: Builder, x: Value, size: Sequence[int] | None, scale: Sequence[float] | float | None
) -> Value:
    return _interpolate(b, x, size, scale, "nearest", None, None, None)


class Resampling(Family):
    """Interpolation that ncnn's Interp does not do, such as that of volumes.

    What it finds: `F.interpolate`, `F.upsample` and `F.upsample_nearest` in `.ncnn.param`, and their
    Interp layers without sizes, which pnnx writes for inputs of five axes.

    Why it breaks: ncnn has no layer of that name; an Interp without sizes gives back its input.

    Repair: one axis after the other: Crop, Tile and Concat layers pick elements for the modes nearest
    and nearest-exact, a MatMul with a stored table of shares is the modes linear, bilinear and
    trilinear.

    Limits: bicubic and area interpolation, and antialias, are not repaired.

    Example:
        Interp   upsample_0   1 1 in0 out0 6=1        (mode=trilinear, size=(3,3,3))
        three MatMul layers, one for each axis

    Source: torch's documentation and ATen UpSample.h (places of the source); ncnn matmul.cpp.
    """

    code = "PNX133"
    name = "leaked-resampling"
    operators = {  # noqa: RUF012 a table, never changed
        **{
            f"F.{name}(Tensor input, int[]? size=None, float[]? scale_factor=None, str? mode=nearest,"
            " bool? align_corners=None, bool? recompute_scale_factor=None, bool? antialias=None)"
            " -> Tensor": _interpolate
            for name in ("interpolate", "upsample")
        },
        "F.upsample_nearest(Tensor input, int[]? size=None, float[]? scale_factor=None) -> Tensor": _nearest,
    }
    cases = (
        Case(
            "F.interpolate(x, size=(3, 4, 2), mode='trilinear', align_corners=True)",
            id="trilinear",
            x="f32[1,2,4,3,5]",
        ),
        Case("F.interpolate(x, scale_factor=2, mode='nearest')", id="nearest-volume", x="f32[1,2,3,2,4]"),
    )
