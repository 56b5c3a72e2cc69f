"""Tensors that the files hold, as rules get them: an index, a mask, a table of numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A constant tensor: torch's shape, its numbers in row-major order (bool as 0 and 1), pnnx's dtype."""

    shape: tuple[int, ...]
    numbers: tuple[int | float, ...]
    dtype: str

    @property
    def is_integer(self) -> bool:
        return self.dtype in {"i64", "i32", "i16", "i8", "u8"}
