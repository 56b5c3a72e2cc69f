"""Puts the layers of a lowering, and the operators of pnnx, into the graphs in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.splits import SPLIT, drop_unread, is_network_output
from pnnxfix.rules.base import Lowering
from pnnxfix.rules.fuse import fuse_clip

_RESULT = -1


def lower_row(
    graph: Graph, handle: int, lowering: Lowering, blob_of: Callable[[str], str], fuse: bool
) -> list[tuple[float, ...]]:
    """Replace a row by the layers that compute the same; `blob_of` gives an argument's blob.

    Layers that hold constants go to the head of the graph; their numbers are returned in that
    order, which is the order of their bytes in the .bin. What fed only the old row goes.
    """
    old = graph[handle]
    if lowering.results[0] in old_arguments(lowering) and _rename(graph, handle, lowering, blob_of):
        return []
    writer = _Writer(graph, old, lowering, blob_of)
    made = writer.write()
    replace_row(graph, handle, *made)
    if fuse and len(made) == 1:
        fuse_clip(graph, handle)
    return writer.constants


def replace_row(graph: Graph, handle: int, *operators: Operator) -> None:
    """Replace a row, and remove the constants that fed only the old one."""
    inputs = dict.fromkeys(graph[handle].inputs)
    graph.replace(handle, *operators)
    for operand in inputs:
        drop_unread(graph, operand)


def old_arguments(lowering: Lowering) -> set[str]:
    """The arguments of the operator that a lowering gives back as they are."""
    return {name for name in lowering.results if not name.startswith("@")}


def _rename(graph: Graph, handle: int, lowering: Lowering, blob_of: Callable[[str], str]) -> bool:
    """Drop a row that gives back its argument, by letting the argument's maker make the result."""
    if len(lowering.results) != 1 or lowering.layers:
        return False
    blob = blob_of(lowering.results[0])
    result = graph[handle].outputs[0]
    maker = graph.maker(blob)
    if maker is None or not maker.inputs or is_network_output(blob) or graph.users(blob) != [handle]:
        return False  # an Input keeps its name, and a stored constant its place
    graph.replace(handle)
    names = tuple(result if name == blob else name for name in maker.outputs)
    graph.replace_operator(maker, replace(maker, outputs=names))
    return True


@dataclass(frozen=True, slots=True)
class _Use:
    """Who reads a value: a layer's input, or the operator's result number `position`."""

    layer: int
    position: int


class _Writer:
    """Names the blobs of a lowering and inserts the Splits that ncnn's one-reader rule wants."""

    def __init__(
        self, graph: Graph, old: Operator, lowering: Lowering, blob_of: Callable[[str], str]
    ) -> None:
        self._graph = graph
        self._old = old
        self._lowering = lowering
        self._blob_of = blob_of
        self._uses = self._collect_uses()
        self._inputs: dict[_Use, str] = {}
        self._count = 0
        self.constants: list[tuple[float, ...]] = []

    def _collect_uses(self) -> dict[str, list[_Use]]:
        """The readers of each argument and layer, as far as the results need them."""
        layers = self._lowering.layers
        uses: defaultdict[str, list[_Use]] = defaultdict(list)
        for at, name in enumerate(self._lowering.results):
            uses[name].append(_Use(_RESULT, at))
        for index in range(len(layers) - 1, -1, -1):
            if f"@{index}" in uses:
                for at, name in enumerate(layers[index].inputs):
                    uses[name].append(_Use(index, at))
        return uses

    def write(self) -> list[Operator]:
        made: list[Operator] = []
        for name in [name for name in self._uses if not name.startswith("@")]:
            self._hand_out(name, self._blob_of(name), made)
        for index, layer in enumerate(self._lowering.layers):
            name = f"@{index}"
            if name not in self._uses:
                continue
            blob = self._output_of(name)
            inputs = tuple(self._inputs[_Use(index, at)] for at in range(len(layer.inputs)))
            operator = Operator(layer.type, self._fresh_name(name), inputs, (blob,), layer.parameters)
            if layer.inputs:
                made.append(operator)
            else:
                self._graph.prepend(operator)
                self.constants.append(self._lowering.constants[index])
            self._hand_out(name, blob, made)
        return made

    def _output_of(self, name: str) -> str:
        uses = self._uses[name]
        if len(uses) == 1 and uses[0].layer == _RESULT:
            return self._old.outputs[uses[0].position]
        return self._fresh_blob()

    def _hand_out(self, name: str, blob: str, made: list[Operator]) -> None:
        """Give each reader its blob: the one itself, or a copy from a Split."""
        uses = self._uses[name]
        if len(uses) == 1:
            use = uses[0]
            self._inputs[use] = blob
            result = self._old.outputs[use.position] if use.layer == _RESULT else blob
            if result != blob:
                made.append(Operator("Noop", self._fresh_name(""), (blob,), (result,)))
            return
        copies = []
        for use in uses:
            copy = self._old.outputs[use.position] if use.layer == _RESULT else self._fresh_blob()
            self._inputs[use] = copy
            copies.append(copy)
        made.append(Operator(SPLIT, self._graph.fresh_name("splitncnn_fix"), (blob,), tuple(copies)))

    def _fresh_blob(self) -> str:
        self._count += 1
        return self._graph.fresh_operand(f"{self._old.name}_{self._count}")

    def _fresh_name(self, name: str) -> str:
        """The operator's own name for the layer of its only result, a new one for the others."""
        if self._lowering.results == (name,):
            return self._old.name
        return self._graph.fresh_name(f"{self._old.name}_{name[1:] or 'copy'}")
