"""Elementwise layers, and broadcasting as torch has it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pnnxfix.codecs.number import spell_for_ncnn
from pnnxfix.rules.lowering.blobs import BlobBuilder
from pnnxfix.rules.lowering.value import NotExpressible, Value
from pnnxfix.rules.lowering.views import MAX_RANK, Shape, broadcast_shapes, merge_axes

BINARY = {"add": 0, "sub": 1, "mul": 2, "div": 3, "max": 4, "min": 5, "pow": 6, "rsub": 7, "rdiv": 8,
          "rpow": 9, "atan2": 10, "ratan2": 11}  # fmt: skip
UNARY = {"abs": 0, "neg": 1, "floor": 2, "ceil": 3, "square": 4, "sqrt": 5, "rsqrt": 6, "exp": 7, "log": 8,
         "sin": 9, "cos": 10, "tan": 11, "asin": 12, "acos": 13, "atan": 14, "reciprocal": 15, "tanh": 16,
         "log10": 17, "round": 18, "trunc": 19}  # fmt: skip
# Before 20260526 they take a blob of four axes for one of three, and leave out most of it.
_PLANAR = frozenset({"Threshold", "Erf"})
_SWAPPED = {"sub": "rsub", "div": "rdiv", "pow": "rpow", "atan2": "ratan2"}


class ElementwiseBuilder(BlobBuilder):
    """Layers that map each element by itself, of one tensor or of two."""

    def elementwise(self, kind: str, value: Value, parameters: Sequence[str] = ()) -> Value:
        """A layer that maps each element by itself (Clip, Sigmoid, ...)."""
        value = self.certain(value)
        assert value.blob is not None
        if kind in _PLANAR and len(value.blob) == MAX_RANK:
            channels, depth, height, width = value.blob
            value = self.as_blob(value, (channels, depth * height, width))
        assert value.blob is not None
        return self.layer(kind, (value,), parameters, value.shape, value.blob)

    def unary(self, name: str, value: Value) -> Value:
        """UnaryOp by its name in `UNARY`."""
        return self.elementwise("UnaryOp", value, (f"0={UNARY[name]}",))

    def clip(self, value: Value, low: float | None = None, high: float | None = None) -> Value:
        words = [
            f"{key}={spell_for_ncnn(bound)}" for key, bound in (("0", low), ("1", high)) if bound is not None
        ]
        return self.elementwise("Clip", value, words)

    def above(self, value: Value, threshold: float) -> Value:
        """1.0 where the value is greater than the threshold, else 0.0 (nan: 0.0)."""
        return self.elementwise("Threshold", value, (f"0={spell_for_ncnn(threshold)}",))

    def binary(self, name: str, left: Value, right: Value | float) -> Value:
        """BinaryOp by its name in `BINARY`, with torch's broadcasting; a number may stand right."""
        if not isinstance(right, Value):
            if not math.isfinite(right):
                raise NotExpressible(f"ncnn has no spelling for {right}")
            words = (f"0={BINARY[name]}", "1=1", f"2={spell_for_ncnn(right)}")
            return self.elementwise("BinaryOp", left, words)
        shape = broadcast_shapes(left.shape, right.shape)
        if shape is None:
            raise NotExpressible(f"shapes {left.shape} and {right.shape} do not broadcast")
        if left.shape == right.shape and left.blob is not None and left.blob == right.blob:
            return self.layer("BinaryOp", (left, right), (f"0={BINARY[name]}",), shape, left.blob)
        blobs = self._broadcast_blobs(left, right, shape)
        first, second = (self.as_blob(value, blob) for value, blob in zip((left, right), blobs, strict=True))
        result = broadcast_shapes(*blobs)
        assert result is not None
        return self.layer("BinaryOp", (first, second), (f"0={BINARY[name]}",), shape, result)

    @staticmethod
    def swapped(name: str) -> str:
        """The BinaryOp that takes its operands the other way round."""
        return _SWAPPED.get(name, name)

    def _broadcast_blobs(self, left: Value, right: Value, shape: Shape) -> tuple[Shape, Shape]:
        """Sizes of equal rank in which ncnn broadcasts two blobs as torch does."""
        padded = [(1,) * (len(shape) - value.rank) + value.shape for value in (left, right)]
        if len(shape) <= MAX_RANK:
            for mine, other, at in ((left, right, 0), (right, left, 1)):
                # Keep the bigger operand's blob as it is where the other can be fitted to it.
                if mine.blob is not None and mine.shape == shape and len(mine.blob) >= 1:
                    fitted = _fit(padded[1 - at], shape, mine.blob)
                    if fitted is not None:
                        return (mine.blob, fitted) if at == 0 else (fitted, mine.blob)
                del other
        kinds = [(one == 1 != size, two == 1 != size) for one, two, size in zip(*padded, shape, strict=True)]
        _, merged = merge_axes(shape, kinds)
        sizes, _ = merge_axes(shape, kinds)
        if len(sizes) > MAX_RANK:
            raise NotExpressible(
                f"broadcasting {left.shape} with {right.shape} needs {len(sizes)} axes, ncnn has 4"
            )
        blobs = tuple(
            tuple(1 if kind[which] else size for size, kind in zip(sizes, merged, strict=True)) or (1,)  # type: ignore[index]
            for which in (0, 1)
        )
        return blobs[0], blobs[1]


def _fit(padded: Shape, shape: Shape, blob: Shape) -> Shape | None:
    """The smaller operand's sizes in the layout of the bigger one's blob, None if that splits axes."""
    if blob == shape:
        return padded
    if shape[:1] == (1,) and blob == shape[1:]:
        return padded[1:]
    return None
