"""Finds arithmetic on integers that pnnx gave to layers of floats.

ncnn has the integers of an input, and of a stored tensor, as int32 bits, which a layer takes for a float
next to zero: `add(@0,1)` gives 1.0 whatever is added to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pnnxfix.graph.shapes import Annotations
from pnnxfix.graph.splits import EXPRESSION
from pnnxfix.pipeline.expansions import Expansions
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.rules.base import INTEGER_TYPES

_SUMS = re.compile(r"(?:add|sub|neg|@\d+|[(),])+\Z")


def find_integer_arithmetic(loaded: LoadedConversion) -> Iterator[tuple[int, int, str]]:
    """The last layer of each Expression that computes on integers, its row in pnnx's graph, and the reason.

    Sums of tensors alone are left: those of bits are right wherever a CPU adds numbers next to zero.
    """
    assert loaded.pnnx is not None
    assert loaded.ncnn is not None
    pnnx, ncnn = loaded.pnnx.graph, loaded.ncnn.graph
    shapes = Annotations(pnnx)
    expansions = Expansions(pnnx, ncnn)
    for handle in pnnx.of_types({EXPRESSION}):
        operator = pnnx.original(handle)
        types = {found[1] for name in operator.inputs if (found := shapes.find(name)) is not None}
        text = operator.parameter("expr") or ""
        if types.isdisjoint(INTEGER_TYPES) or (types <= INTEGER_TYPES and _SUMS.match(text)):
            continue
        layers = expansions.find(operator)
        if layers is not None:
            yield layers.rows[-1], handle, f"the integers of `{text[:60]}` are bits to a layer of floats"
