"""Runs the layers of one rule in the real ncnn, on arrays."""

from __future__ import annotations

import os
import struct
import tempfile
from collections import Counter
from collections.abc import Sequence
from typing import Any

import ncnn
import numpy as np

from pnnxfix.rules.base import Layer
from pnnxfix.rules.lowering.builder import Builder, Value
from pnnxfix.rules.lowering.family import Family
from pnnxfix.rules.registry import operator_rules

Array = np.ndarray[Any, Any]


def name_value(value: Any) -> str:
    """A test's id for a parameter, the same in every process: no address of a function in it."""
    return value.__name__ if callable(value) else str(value)[:40]


def run_rule(
    operator: str,
    *arguments: Any,
    shapes: Sequence[tuple[int, ...] | None] = (None,),
    drop_batch: bool = False,
) -> list[Array]:
    """The results of an operator's rule on arguments in the order of its signature.

    An array is a tensor, a list of arrays a list of tensors, all else a constant. `shapes` are what the
    files would say of the results. With `drop_batch`, blobs leave out a first axis of size one.
    """
    rule = operator_rules()[operator]
    assert isinstance(rule, Family)
    builder = Builder()
    builder.result_shapes = list(shapes)
    builder.result_types = ["f32"] * len(shapes)
    builder.argument_makers = {"pnnx.Input"}
    feeds: dict[str, Array] = {}

    def give(argument: Any) -> Any:
        if isinstance(argument, list):
            return [give(item) for item in argument]
        if not isinstance(argument, np.ndarray):
            return argument
        blob = argument.shape[1:] if drop_batch and argument.shape[:1] == (1,) else argument.shape
        name = f"in{len(feeds)}"
        feeds[name] = argument.astype(np.float32).reshape(blob or (1,))
        return Value(builder, name, argument.shape, blob or (1,))

    made = rule.lower(builder, *map(give, arguments))
    values = [made] if isinstance(made, Value) else [value for value in made if value is not None]
    results = [builder.certain(value) for value in values]
    found = run(builder, feeds, results)
    return [array.reshape(value.shape) for value, array in zip(results, found, strict=True)]


def run(builder: Builder, feeds: dict[str, Array], results: Sequence[Value]) -> list[Array]:
    """Extract values from the builder's layers; ncnn's own one-reader rule is kept with Splits."""
    uses = Counter(name for layer in builder.layers for name in layer.inputs)
    uses.update(value.name for value in results)
    rows: list[str] = []
    numbers: list[float] = []
    copies: dict[str, list[str]] = {}

    def write(layer: Layer, names: Sequence[str]) -> None:
        blobs = [f"b{name.lstrip('@')}" for name in names]
        inputs = [copies[name].pop() for name in layer.inputs]
        words = [layer.type, blobs[0], str(len(inputs)), str(len(blobs)), *inputs, *blobs, *layer.parameters]
        rows.append(" ".join(words))
        for name, blob in zip(names, blobs, strict=True):
            copies[name] = [blob]
            if uses[name] > 1:
                copies[name] = [f"{blob}_{at}" for at in range(uses[name])]
                rows.append(" ".join(["Split", f"s{blob}", "1", str(uses[name]), blob, *copies[name]]))

    for at, constant in sorted(builder.constants.items()):
        write(builder.layers[at], [f"@{at}"])
        numbers += constant
    for name in feeds:
        write(Layer("Input", ()), [name])
    for at, layer in enumerate(builder.layers):
        if at not in builder.constants:
            write(layer, layer.names(at))
    wanted = [copies[value.name].pop() for value in results]
    blobs = sum(int(row.split()[3]) for row in rows)
    text = f"7767517\n{len(rows)} {blobs}\n" + "\n".join(rows) + "\n"
    return _extract(text, struct.pack(f"<{len(numbers)}f", *numbers), feeds, wanted)


def _extract(text: str, weights: bytes, feeds: dict[str, Array], wanted: Sequence[str]) -> list[Array]:
    with tempfile.TemporaryDirectory() as folder, ncnn.Net() as net:
        net.opt.num_threads = 1
        for load, data, name in ((net.load_param, text.encode(), "param"), (net.load_model, weights, "bin")):
            path = os.path.join(folder, name)
            with open(path, "wb") as file:
                file.write(data)
            assert load(path) == 0, text
        with net.create_extractor() as extractor:
            # An input that no layer reads has no blob of its own to feed.
            for name, array in feeds.items():
                extractor.input(f"b{name}", ncnn.Mat(np.ascontiguousarray(array)).clone())
            found = []
            for name in wanted:
                code, blob = extractor.extract(name)
                assert code == 0, f"{name}: {code}\n{text}"
                found.append(np.array(blob))
    return found
