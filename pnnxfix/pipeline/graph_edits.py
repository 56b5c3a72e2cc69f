"""Puts the layers of a lowering, and the operators of pnnx, into the graphs in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.splits import SPLIT, drop_unread, is_network_output
from pnnxfix.rules.base import Layer, Lowering
from pnnxfix.rules.fuse import fuse_clip

_RESULT = -1


class RegionLowering(NamedTuple):
    """The layers of a region. `places` has for each layer the ncnn row that it takes the place of.

    `results` are (value, blob): which layer, or which blob of before, becomes which blob. `constants`
    are the numbers of layers that go to the head of the graph, `weights` those that a layer reads from
    the .bin in its own place, by the layer's index.
    """

    handles: tuple[int, ...]
    layers: tuple[Layer, ...]
    places: tuple[int, ...]
    results: tuple[tuple[str, str], ...]
    constants: dict[int, tuple[float, ...]]
    weights: dict[int, tuple[float, ...]]


class Placed(NamedTuple):
    """Numbers for the .bin that a layer reads in its own place: behind the bytes of all rows before `row`.

    `blob` is the layer's output.
    """

    row: int
    blob: str
    numbers: tuple[float, ...]


@dataclass(slots=True)
class NewNumbers:
    """What a repair adds to the .bin: at its head, in the order of the layers, and at other places."""

    head: list[tuple[float, ...]] = field(default_factory=list)
    placed: list[Placed] = field(default_factory=list)

    def extend(self, other: NewNumbers) -> None:
        self.head += other.head
        self.placed += other.placed


def lower_row(
    graph: Graph, handle: int, lowering: Lowering, blob_of: Callable[[str], str], fuse: bool
) -> None:
    """Replace a row by the layers that compute the same; `blob_of` gives an argument's blob."""
    layers = [
        layer._replace(inputs=tuple(n if n[:1] == "@" else blob_of(n) for n in layer.inputs))
        for layer in lowering.layers
    ]
    row = graph[handle]
    is_alone = len(layers) == len(row.outputs) == 1 and lowering.results == ("@0",)
    if is_alone and len(set(layers[0].inputs)) == len(layers[0].inputs):
        # It takes over the row's name and output, and no input needs a Split.
        kind, inputs, parameters, _ = layers[0]
        replace_row(graph, handle, Operator(kind, row.name, inputs, row.outputs, parameters))
    else:
        results = tuple(zip(lowering.results, row.outputs, strict=True))
        places = (handle,) * len(layers)
        lower_rows(graph, RegionLowering((handle,), tuple(layers), places, results, {}, {}))
    if fuse and len(layers) == 1:
        fuse_clip(graph, handle)


def lower_rows(graph: Graph, lowering: RegionLowering) -> NewNumbers:
    """Replace the rows of a region by its layers, and remove what fed only the old rows.

    Layers that hold constants go to the head of the graph. What the .bin needs for them, and for
    layers with weights, is returned.
    """
    if not lowering.layers and len(lowering.results) == 1 and _rename(graph, lowering):
        return NewNumbers()
    writer = _Writer(graph, lowering)
    made = writer.write()
    inputs = {name: None for handle in lowering.handles for name in graph[handle].inputs}
    for handle in lowering.handles:
        graph.replace(handle, *made[handle])
    for blob in inputs:
        drop_unread(graph, blob)
    return writer.numbers


def place_of_table(graph: Graph, lowering: RegionLowering, index: int) -> int:
    """The row behind which a layer with weights of its own goes: the one that makes what it reads.

    That is near the head of the graph, where what the rows before have in the .bin is known. A layer
    that reads the bytes of the row it takes the place of stays there, and one that shares its input.
    """
    place, blob = lowering.places[index], lowering.layers[index].inputs[0]
    maker = graph.producer(blob)
    is_shared = sum(layer.inputs.count(blob) for layer in lowering.layers) != 1
    if maker is None or maker not in graph or is_shared or len(lowering.weights[index]) == 1:
        return place
    return maker


def replace_row(graph: Graph, handle: int, *operators: Operator) -> None:
    """Replace a row, and remove the constants that fed only the old one."""
    inputs = graph[handle].inputs
    graph.replace(handle, *operators)
    for operand in inputs:
        if not graph.is_read(operand):
            drop_unread(graph, operand)


def _rename(graph: Graph, lowering: RegionLowering) -> bool:
    """Drop a row that gives back its argument, by letting the argument's maker make the result."""
    (blob, result), handle = lowering.results[0], lowering.handles[0]
    maker = graph.maker(blob)
    if maker is None or not maker.inputs or is_network_output(blob) or graph.users(blob) != [handle]:
        return False  # an Input keeps its name, and a stored constant its place
    others = {name: None for at in lowering.handles for name in graph[at].inputs if name != blob}
    for at in lowering.handles:
        graph.replace(at)
    names = tuple(result if name == blob else name for name in maker.outputs)
    graph.replace_operator(maker, maker._replace(outputs=names))
    for name in others:
        drop_unread(graph, name)
    return True


class _Use(NamedTuple):
    """Who reads a value: a layer's input, or the region's result number `position`."""

    layer: int
    position: int


class _Writer:
    """Names the blobs of a lowering and inserts the Splits that ncnn's one-reader rule wants."""

    def __init__(self, graph: Graph, lowering: RegionLowering) -> None:
        self._graph = graph
        self._lowering = lowering
        self._base = graph[lowering.handles[0]].name
        self._uses = self._collect_uses()
        self._inputs: dict[_Use, str] = {}
        self._made: dict[int, list[Operator]] = {handle: [] for handle in lowering.handles}
        self.numbers = NewNumbers()

    def _collect_uses(self) -> dict[str, list[_Use]]:
        """The readers of each blob and layer, as far as the results need them."""
        layers = self._lowering.layers
        uses: defaultdict[str, list[_Use]] = defaultdict(list)
        for at, (name, _) in enumerate(self._lowering.results):
            uses[name].append(_Use(_RESULT, at))
        for index in range(len(layers) - 1, -1, -1):
            if not uses.keys().isdisjoint(layers[index].names(index)):
                for at, name in enumerate(layers[index].inputs):
                    uses[name].append(_Use(index, at))
        return uses

    def write(self) -> dict[int, list[Operator]]:
        first = self._lowering.handles[0]
        for name in [name for name in self._uses if not name.startswith("@")]:
            self._hand_out(name, name, self._place_of(name, first))
        for index, layer in enumerate(self._lowering.layers):
            names = layer.names(index)
            if self._uses.keys().isdisjoint(names):
                continue
            place = self._lowering.places[index]
            blobs = tuple(self._output_of(name) for name in names)
            inputs = tuple(self._inputs[_Use(index, at)] for at in range(len(layer.inputs)))
            operator = Operator(layer.type, self._name(names[0]), inputs, blobs, layer.parameters)
            if index in self._lowering.constants:
                self._graph.prepend(operator)
                self.numbers.head.append(self._lowering.constants[index])
            elif index in self._lowering.weights:
                row = place_of_table(self._graph, self._lowering, index)
                self.numbers.placed.append(Placed(row, blobs[0], self._lowering.weights[index]))
                if row == place:
                    self._made[place].append(operator)
                else:
                    before = self._graph.edits.get(row) or [self._graph[row]]
                    self._graph.replace(row, *before, operator)
            else:
                self._made[place].append(operator)
            for name, blob in zip(names, blobs, strict=True):
                if name in self._uses:
                    self._hand_out(name, blob, place)
        return self._made

    def _place_of(self, blob: str, first: int) -> int:
        """The first row of the region that may read a blob: one after the row that makes it."""
        maker = self._graph.producer(blob)
        return next((h for h in self._lowering.handles if maker is None or h > maker), first)

    def _output_of(self, name: str) -> str:
        uses = self._uses.get(name, [])
        if len(uses) == 1 and uses[0].layer == _RESULT:
            return self._lowering.results[uses[0].position][1]
        return self._blob()

    def _hand_out(self, name: str, blob: str, place: int) -> None:
        """Give each reader its blob: the one itself, or a copy from a Split."""
        uses = self._uses[name]
        if len(uses) == 1:
            use = uses[0]
            self._inputs[use] = blob
            result = self._lowering.results[use.position][1] if use.layer == _RESULT else blob
            if result != blob:
                self._made[place].append(Operator("Noop", self._name(""), (blob,), (result,)))
            return
        copies = []
        for use in uses:
            copy = self._lowering.results[use.position][1] if use.layer == _RESULT else self._blob()
            self._inputs[use] = copy
            copies.append(copy)
        split = Operator(SPLIT, self._graph.fresh_name("splitncnn_fix"), (blob,), tuple(copies))
        self._made[place].append(split)

    def _blob(self) -> str:
        return self._graph.fresh_operand(self._base)

    def _name(self, name: str) -> str:
        """The row's own name for the layer of the only result, a new one for the others."""
        if [result for result, _ in self._lowering.results] == [name]:
            return self._base
        return self._graph.fresh_name(f"{self._base}_{name[1:] or 'copy'}")
