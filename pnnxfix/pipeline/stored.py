"""Stored tensors of a conversion, and lists of tensors: what an operator got that is no number.

A stored tensor is an attribute of `.pnnx.param` with its numbers in `.pnnx.bin`. A list of tensors
is a `prim::ListConstruct`, or since 20260409 an Expression such as `[@0,@1]`.
"""

from __future__ import annotations

import re
from pathlib import Path

from pnnxfix.codecs.pnnx_bin import has_equal_entries, has_finite_entry, read_tensor
from pnnxfix.errors import ParseError
from pnnxfix.graph.graph import Operator
from pnnxfix.graph.splits import EXPRESSION
from pnnxfix.pipeline.discovery import PNNX_PARAM
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.rules.base import Refusal
from pnnxfix.rules.lowering.stored import StoredTensor

_LISTS = frozenset({"prim::ListConstruct", "prim::TupleConstruct"})
_LONGEST_LIST = 1 << 16
_DATA = re.compile(r"@data=\(([0-9,]*)\)(\w+)\Z")


def read_stored(loaded: LoadedConversion, operator: Operator) -> StoredTensor | Refusal:
    """The tensor of a `pnnx.Attribute` row."""
    found = next((match for word in operator.rest if (match := _DATA.match(word))), None)
    place = _bin_path(loaded)
    if found is None or place is None:
        return Refusal(f"the numbers of {operator.name} are not in the files", "convert the model again")
    shape = tuple(int(size) for size in found[1].split(",") if size)
    try:
        numbers = read_tensor(place, f"{operator.name}.data", shape, found[2])
    except ParseError as error:
        return Refusal(
            f"the numbers of {operator.name} are not known: {error.reason}",
            "keep model.pnnx.bin beside the ncnn model",
        )
    return StoredTensor(shape, numbers, found[2])


def has_equal_weights(loaded: LoadedConversion, attribute: Operator, operator: Operator) -> bool:
    """Whether a stored tensor is, byte for byte, the `weight` of an operator. Cost: reading both."""
    data, weight = (
        next((word[len(key) :] for word in row.rest if word.startswith(key)), None)
        for row, key in ((attribute, "@data="), (operator, "@weight="))
    )
    place = _bin_path(loaded)
    if data is None or data != weight or place is None:
        return False
    try:
        return has_equal_entries(place, f"{attribute.name}.data", f"{operator.name}.weight")
    except ParseError:
        return False


def has_finite_weight(loaded: LoadedConversion, operator: Operator) -> bool:
    """Whether an operator's `weight` certainly holds float32 numbers without infinity or nan."""
    place = _bin_path(loaded)
    if place is None or not any(re.match(r"@weight=\([0-9,]*\)f32\Z", word) for word in operator.rest):
        return False
    try:
        return has_finite_entry(place, f"{operator.name}.weight")
    except ParseError:
        return False


def _bin_path(loaded: LoadedConversion) -> Path | None:
    path = loaded.files.get(PNNX_PARAM)
    if path is None or not path.name.endswith(".param"):
        return None
    return path.with_name(path.name.removesuffix(".param") + ".bin")


def list_items(maker: Operator) -> tuple[str, ...] | None:
    """The items of a list of tensors as Expressions over its maker's inputs; None where it makes no list."""
    if maker.type in _LISTS:
        return tuple(f"@{at}" for at in range(len(maker.inputs)))
    text = maker.parameter("expr") or ""
    if maker.type != EXPRESSION or text[:1] != "[" or text[-1:] != "]" or "@" not in text:
        return None
    items, depth = [""], 0
    for char in text[1:-1]:
        depth += (char in "([") - (char in ")]")
        if char == "," and depth == 0:
            items.append("")
        else:
            items[-1] += char
    return tuple(items)


def read_indexes(text: str) -> tuple[StoredTensor | int | None, ...] | Refusal:
    """The items of a list of indexes: None, a tensor written out, or the place of an input.

    `[None,[0,1],@1]`, and `(2)` as `Tensor.index_put` has one index of one number.
    """
    refusal = Refusal(f"`{text[:40]}` is no list of constant indexes", "index with constants in the model")
    if len(text) > _LONGEST_LIST or text[:1] not in {"[", "("} or text[-1:] not in {"]", ")"}:
        return refusal
    items: list[StoredTensor | int | None] = []
    for word in re.findall(r"\[[^\[\]]*\]|[^,\[\]]+", text[1:-1]):
        if word == "None":
            items.append(None)
        elif re.fullmatch(r"@\d{1,6}", word):
            items.append(int(word[1:]))
        elif re.fullmatch(r"\[-?\d{1,9}(,-?\d{1,9})*\]", word):
            numbers = tuple(int(number) for number in word[1:-1].split(","))
            items.append(StoredTensor((len(numbers),), numbers, "i64"))
        elif re.fullmatch(r"\[(True|False)(,(True|False))*\]", word):
            mask = tuple(int(bit == "True") for bit in word[1:-1].split(","))
            items.append(StoredTensor((len(mask),), mask, "bool"))
        else:
            return refusal
    return tuple(items)
