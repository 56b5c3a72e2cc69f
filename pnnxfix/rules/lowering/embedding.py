"""Looking rows up by integers that layers compute, as floats."""

from __future__ import annotations

from pnnxfix.rules.lowering.builder import Builder, Value


def one_hot(b: Builder, indexes: Value, count: int) -> Value:
    """A row of `count` numbers for each index, 1.0 at the index and else 0.0."""
    column = b.view(indexes, (indexes.size, 1))
    places = b.constant(tuple(map(float, range(count))), (1, count))
    return 1.0 - b.above(b.unary("abs", column - places), 0.5)
