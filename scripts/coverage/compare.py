"""Whether tensors agree with PyTorch's, and if not, where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Tolerance:
    """`|got - want| <= absolute + relative * |want|`, nan and infinities in the same places.

    With `of_tensor`, an error of `relative` times the root mean square of the whole output will do, too:
    a sum of large terms that cancel is as inexact as the terms are.
    """

    relative: float
    absolute: float
    of_tensor: bool = False


def flatten(value: object) -> list[torch.Tensor]:
    """The tensors of a nested result, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in flatten(item)]
    return []


def find_difference(got: Sequence[torch.Tensor], want: Sequence[torch.Tensor], tolerance: Tolerance) -> str:
    """What differs first, "" where nothing does: number of outputs, shape, kind of number, values."""
    if len(got) != len(want):
        return f"{len(got)} outputs, want {len(want)}"
    for at, (mine, theirs) in enumerate(zip(got, want, strict=True)):
        if difference := _differ(mine, theirs, tolerance):
            return f"out{at} {difference}"
    return ""


def _differ(got: torch.Tensor, want: torch.Tensor, tolerance: Tolerance) -> str:
    if got.shape != want.shape:
        return f"has shape {tuple(got.shape)}, want {tuple(want.shape)}"
    if _kind(got) != _kind(want):
        return f"is {_kind(got)}, want {_kind(want)}"
    return differ_in_values(got, want, tolerance)


def differ_in_values(got: torch.Tensor, want: torch.Tensor, tolerance: Tolerance) -> str:
    """The largest error and where it is, "" where all is within the tolerance. Shapes must be equal."""
    mine, theirs = to_real(got), to_real(want)
    close = torch.isclose(mine, theirs, tolerance.relative, tolerance.absolute, equal_nan=True)
    errors = (mine - theirs).abs().nan_to_num(nan=float("inf"), posinf=float("inf"))
    if tolerance.of_tensor:
        mean_square = theirs[theirs.isfinite()].square().mean()
        close |= errors.isfinite() & (errors <= tolerance.relative * mean_square.sqrt())
    if bool(close.all()):
        return ""
    wrong = torch.where(close, -1.0, errors).flatten()
    place = int(wrong.argmax())
    count = int((~close).sum())
    return (
        f"differs in {count} of {close.numel()} values: {mine.flatten()[place]:.5g} at {place}, "
        f"want {theirs.flatten()[place]:.5g}"
    )


def to_real(tensor: torch.Tensor) -> torch.Tensor:
    """The same values as float64; a complex number becomes a last axis of two, sparse becomes dense."""
    tensor = tensor.detach()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj().to(torch.complex128))
    return tensor.to(torch.float64)


def _kind(tensor: torch.Tensor) -> str:
    if tensor.dtype == torch.bool:
        return "bool"
    if tensor.is_complex():
        return "complex"
    return "float" if tensor.is_floating_point() else "integer"
