"""The traces of the forms as lists of values with edges, ready to be paired."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pnnxfix.graph.graph import Operator
from pnnxfix.graph.splits import SPLIT
from pnnxfix.verify.distance import Value
from pnnxfix.verify.kinds import RELAYOUTS, is_activation, is_fused_into, may_be_same, may_stand_for
from pnnxfix.verify.signature import Record
from pnnxfix.verify.subject import Param


@dataclass(frozen=True, slots=True)
class Network:
    """The values of one form in order. `layers` are the ncnn layers that made them; empty for PyTorch."""

    values: list[Value]
    layers: list[Operator]

    @property
    def readers(self) -> list[list[int]]:
        """Who reads each value, by index."""
        found: list[list[int]] = [[] for _ in self.values]
        for at, value in enumerate(self.values):
            for source in value.inputs:
                found[source].append(at)
        return found

    def ancestors(self, ends: Sequence[int]) -> set[int]:
        """The values that some of `ends` depend on, these included."""
        seen: set[int] = set()
        pending = list(ends)
        while pending:
            at = pending.pop()
            if at not in seen:
                seen.add(at)
                pending.extend(self.values[at].inputs)
        return seen

    def is_relayout(self, at: int) -> bool:
        """Whether a value is certain to hold what it was made from, perhaps in another order."""
        return bool(self.layers) and self.layers[at].type in RELAYOUTS

    def is_activation(self, at: int) -> bool:
        return is_activation(self.values[at].kind)


def from_torch(records: Sequence[Record]) -> Network:
    """A trace of PyTorch. A key that a list has (`3`) stands for all of its tensors (`3.0`, `3.1`)."""
    index = {record.key: at for at, record in enumerate(records)}
    parts: dict[str, list[int]] = {}
    for at, record in enumerate(records):
        base, dot, _ = record.key.rpartition(".")
        if dot:
            parts.setdefault(base, []).append(at)
    values = []
    for at, record in enumerate(records):
        sources: list[int] = []
        for key in record.facts["inputs"]:
            base = key.rpartition(".")[0]
            found = (
                [index[key]] if key in index else parts.get(key) or ([index[base]] if base in index else [])
            )
            sources.extend(source for source in found if source < at)
        values.append(Value(record, record.facts["kind"], tuple(dict.fromkeys(sources))))
    return Network(values, [])


def from_ncnn(records: Sequence[Record], param: Param) -> Network:
    """A trace of ncnn; Splits are left out, their readers read what went in."""
    graph = param.graph
    index = {record.key: at for at, record in enumerate(records)}
    values, layers = [], []
    for at, record in enumerate(records):
        handle = graph.producer(record.key)
        assert handle is not None
        layer = graph.original(handle)
        sources = []
        for name in layer.inputs:
            seen = 0
            while name not in index and seen < 1000:
                seen += 1
                above = graph.producer(name)
                if above is None or graph.original(above).type != SPLIT or not graph.original(above).inputs:
                    break
                name = graph.original(above).inputs[0]
            if name in index and index[name] < at:
                sources.append(index[name])
        values.append(Value(record, layer.type, tuple(sources)))
        layers.append(layer)
    return Network(values, layers)


def find_fits(left: Network, right: Network) -> npt.NDArray[np.bool_]:
    """Which values of the left may be those of the right, by the kinds of what made them."""
    fits = np.zeros((len(left.values), len(right.values)), bool)
    kinds = [value.kind for value in left.values]
    if not right.layers:
        for column, value in enumerate(right.values):
            fits[:, column] = _each(kinds, lambda kind, other=value.kind: may_be_same(kind, other))  # type: ignore[misc]
        return fits
    readers = left.readers
    known: dict[tuple[str, str | None], tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]] = {}
    for column, layer in enumerate(right.layers):
        key = (layer.type, layer.parameter("9"))
        if key not in known:
            known[key] = (
                _each(kinds, lambda kind, layer=layer: may_stand_for(layer, kind)),  # type: ignore[misc]
                _each(kinds, lambda kind, layer=layer: is_fused_into(layer, kind)),  # type: ignore[misc]
            )
        plain, fused = known[key]
        # A constant may be what pnnx has folded a whole branch into.
        fits[:, column] = plain if layer.type != "MemoryData" else True
        if not fused.any():
            continue
        for row in np.flatnonzero(fused):
            sources = left.values[row].inputs
            # The layer is what came out of the activation, not what went in.
            if len(sources) == 1 and plain[sources[0]]:
                fits[row, column] = True
                if readers[sources[0]] == [row]:
                    fits[sources[0], column] = False
    return fits


def _each(kinds: Sequence[str], test: Callable[[str], bool]) -> npt.NDArray[np.bool_]:
    return np.fromiter(map(test, kinds), bool, len(kinds))
