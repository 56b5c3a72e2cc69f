"""Stored tensors of a conversion, and lists of tensors: what an operator got that is no number.

A stored tensor is an attribute of `.pnnx.param` with its numbers in `.pnnx.bin`. A list of tensors
is a `prim::ListConstruct`, or since 20260409 an Expression such as `[@0,@1]`.
"""

from __future__ import annotations

import re

from pnnxfix.codecs.pnnx_bin import read_tensor
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
    path = loaded.files.get(PNNX_PARAM)
    if found is None or path is None or not path.name.endswith(".param"):
        return Refusal(f"the numbers of {operator.name} are not in the files", "convert the model again")
    shape = tuple(int(size) for size in found[1].split(",") if size)
    place = path.with_name(path.name.removesuffix(".param") + ".bin")
    try:
        numbers = read_tensor(place, f"{operator.name}.data", shape, found[2])
    except ParseError as error:
        return Refusal(
            f"the numbers of {operator.name} are not known: {error.reason}",
            "keep model.pnnx.bin beside the ncnn model",
        )
    return StoredTensor(shape, numbers, found[2])


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
