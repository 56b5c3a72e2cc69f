"""Sizes of a reshape that pnnx loses, or leaves behind those of the result.

Where a size is computed through a cast, pnnx miscounts the sizes, puts the known shape of the result over the
first ones and forgets the others: (1,144,16,4,4) or (1,144,16) for a result of (1,144,16,4). Releases
20250430 to 20261020 (pass_level5/eliminate_reshape_shape_expression).
"""

from __future__ import annotations

import re
from math import prod

from pnnxfix.graph.graph import Operator


def read_sizes(operator: Operator) -> tuple[int, ...]:
    """The sizes that a `Tensor.reshape` is given, () where they are no numbers."""
    words = (operator.parameter("shape") or "").strip("()").split(",")
    if operator.type != "Tensor.reshape" or not all(re.fullmatch("-?[0-9]{1,9}", word) for word in words):
        return ()
    return tuple(int(word) for word in words)


def has_wrong_sizes(operator: Operator, given: tuple[int, ...], result: tuple[int, ...]) -> bool:
    """Whether there are more or fewer sizes than axes of the result, which holds all elements."""
    sizes = read_sizes(operator)
    if not sizes or not result or len(sizes) == len(result) or min(*given, *result) < 1:
        return False
    return all(size == axis for size, axis in zip(sizes, result, strict=False)) and prod(given) == prod(
        result
    )
