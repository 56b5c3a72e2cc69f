"""Finds stored tensors of float64: pnnx writes eight bytes for each number, and MemoryData reads four."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pnnxfix.pipeline.loaded import LoadedConversion, ParamGraph

REASON = (
    "its numbers are stored as float64, and ncnn takes each for two; all weights after it are misplaced, too"
)
_DOUBLES = re.compile(r"@data=\([0-9,]*\)f64\b")


def may_store_doubles(pnnx: ParamGraph) -> bool:
    """Whether a tensor of float64 is stored. Cost: the rows of stored tensors."""
    rows = pnnx.graph.of_types({"pnnx.Attribute"})
    return any(_DOUBLES.search(pnnx.file.lines[handle]) for handle in rows)


def find_doubles(loaded: LoadedConversion) -> Iterator[tuple[int, int, str]]:
    """The MemoryData, its `pnnx.Attribute`, and the reason. Both have one name, which pnnx gives once."""
    assert loaded.ncnn is not None
    assert loaded.pnnx is not None
    pnnx = loaded.pnnx.graph
    stored = {
        pnnx.original(at).name: at
        for at in pnnx.of_types({"pnnx.Attribute"})
        if any(_DOUBLES.match(word) for word in pnnx.original(at).rest)
    }
    ncnn = loaded.ncnn.graph
    for handle in ncnn.of_types({"MemoryData"}):
        operator = stored.get(ncnn.original(handle).name)
        if operator is not None:
            yield handle, operator, REASON
