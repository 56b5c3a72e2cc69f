"""Follows a repair of `.pnnx.param` into `.pnnx.onnx`, the same graph in an ONNX container.

The file is no ONNX model (no opset, no graph inputs, operator types such as `aten::clamp_min`),
but the `onnx` package reads and writes it. A node is an operator: its type is pnnx's, its
inputs are operands, its attributes are parameters (None is the string "None"). Imported only
when such a file is to change. Source: files of releases 20240226 and 20261020.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pnnxfix.errors import ParseError, PnnxfixError
from pnnxfix.graph.graph import Operator

_INTEGER = re.compile(r"-?[0-9]{1,18}\Z")  # as many digits as always fit into an attribute
_FLOAT = re.compile(r"-?[0-9]{1,60}(?:\.[0-9]{0,60})?(?:[eE][+-]?[0-9]{1,4})?\Z")

if TYPE_CHECKING:
    from onnx import NodeProto


def is_available() -> bool:
    """Whether the `onnx` package is there, without importing it."""
    from importlib.util import find_spec

    return find_spec("onnx") is not None


def replace_nodes(
    data: bytes, path: str, replacements: Iterable[tuple[Operator, Operator]], removed: Iterable[str]
) -> bytes:
    """The file with some operators replaced (old, new) and some removed, by name.

    Raises ParseError where the bytes are no such container, PnnxfixError where a node that is to
    change is not there. Untouched nodes keep their content; protobuf promises no byte identity.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    messages = _import_messages()
    model = messages.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise ParseError(path, 0, 0, "not a protobuf message of ONNX") from None
    graph = model.graph
    at = {node.name: index for index, node in enumerate(graph.node)}
    for old, new in replacements:
        if at.get(old.name) is None or graph.node[at[old.name]].op_type != old.type:
            raise PnnxfixError(
                f"{path}: no node {old.name} of type {old.type}; the file is of another conversion"
            )
        _rewrite(graph.node[at[old.name]], new, messages)
    gone = set(removed)
    kept_nodes = [node for node in graph.node if node.name not in gone]
    lost = {name for node in graph.node if node.name in gone for name in node.output}
    kept_values = [value for value in graph.value_info if value.name not in lost]
    del graph.node[:]
    graph.node.extend(kept_nodes)
    del graph.value_info[:]
    graph.value_info.extend(kept_values)
    return bytes(model.SerializeToString())


def _import_messages() -> Any:
    """onnx's message classes without the rest of onnx.

    The package imports numpy and more, which takes five times as long as the one generated module
    that is needed, and longer than all else that a small repair does.
    """
    import sys
    from importlib.util import find_spec, module_from_spec, spec_from_file_location

    name = "pnnxfix_onnx_messages"
    if name in sys.modules:
        return sys.modules[name]
    package = find_spec("onnx")
    folder = next(iter(package.submodule_search_locations or ()), "") if package else ""
    spec = spec_from_file_location(name, os.path.join(folder, "onnx_ml_pb2.py"))
    if spec is None or spec.loader is None or not os.path.isfile(spec.origin or ""):
        from onnx import onnx_ml_pb2

        return onnx_ml_pb2
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _rewrite(node: NodeProto, new: Operator, messages: Any) -> None:
    node.op_type = new.type
    node.name = new.name
    del node.input[:]
    node.input.extend(new.inputs)
    del node.attribute[:]
    for key, value in _parameters(new.rest):
        node.attribute.append(_make_attribute(key, value, messages.AttributeProto))


def _make_attribute(key: str, value: str | int | float, kind: Any) -> Any:
    match value:
        case int():
            return kind(name=key, type=kind.INT, i=value)
        case float():
            return kind(name=key, type=kind.FLOAT, f=value)
        case _:
            return kind(name=key, type=kind.STRING, s=value.encode())


def _parameters(words: Sequence[str]) -> Iterable[tuple[str, str | int | float]]:
    for word in words:
        if word[0] in "#$@":
            continue
        key, _, text = word.partition("=")
        yield key, _typed(text)


def _typed(text: str) -> str | int | float:
    """A parameter as pnnx types it: what begins with a digit, or a minus and a digit, is a number."""
    if _INTEGER.match(text):
        return int(text)
    return float(text) if _FLOAT.match(text) else text
