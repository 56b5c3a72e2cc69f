"""The arguments of a leaked call: what is known of each, and its spelling for a schema's type.

pnnx prints what TorchScript held: strings without quotes, dtypes and memory formats as integers,
`inf` and `nan` as bare words, None for what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from pnnxfix.codecs.number import read_exact, spell_for_python
from pnnxfix.codecs.python_source import split_arguments

_VARIABLE = re.compile(r"v_\d+\Z")
_ATTRIBUTE = re.compile(r"self\.\w+\Z")
_TENSOR_MAKER = re.compile(r"(?:torch|F|torchvision\.\w+)\.\w+\(|self\.\w+\(")
_DTYPE = re.compile(r"torch\.\w+\Z")
_WORD = re.compile(r"[A-Za-z_][\w.:-]*\Z")
_COMPLEX = re.compile(r"\(?[+-]?[0-9.]+(?:e[+-]?[0-9]+)?[+-][0-9.]+(?:e[+-]?[0-9]+)?j\)?\Z")
_NUMBERS = frozenset({"bool", "int", "float", "complex"})
_LONGEST_INLINE = 60

# Source: c10/core/ScalarType.h, Layout.h, MemoryFormat.h; the order of their enumerators.
# fmt: off
DTYPES = (
    "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "complex32", "complex64",
    "complex128", "bool", "qint8", "quint8", "qint32", "bfloat16", "quint4x2", "quint2x4", "bits1x8",
    "bits2x4", "bits4x2", "bits8", "bits16", "float8_e5m2", "float8_e4m3fn", "float8_e5m2fnuz",
    "float8_e4m3fnuz", "uint16", "uint32", "uint64",
)
LAYOUTS = (
    "strided", "sparse_coo", "sparse_csr", "_mkldnn", "sparse_csc", "sparse_bsr", "sparse_bsc", "jagged",
)
MEMORY_FORMATS = ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")
# fmt: on
_ENUMERATIONS = {"ScalarType": DTYPES, "Layout": LAYOUTS, "MemoryFormat": MEMORY_FORMATS}


@dataclass(frozen=True, slots=True)
class Value:
    """One argument as far as the file tells.

    `kind` is none, bool, int, float, complex, word, text (a quoted string), list, tensor, or
    unknown where only running the model would tell. `name` is the variable that holds it, empty
    for what stands in the call itself.
    """

    kind: str
    text: str
    name: str = ""
    items: tuple[Value, ...] = ()

    @property
    def literals(self) -> tuple[Value, ...]:
        """The constants in it: itself, or those of a list."""
        return tuple(v for v in (self.items or (self,)) if v.kind not in {"tensor", "unknown", "list"})

    @property
    def is_constant(self) -> bool:
        return self.kind not in {"tensor", "unknown"} and all(item.is_constant for item in self.items)


def read_value(text: str, find: Callable[[str], str | None], in_list: bool = False) -> Value:
    """What an argument is. `find` gives what a variable is assigned, None if it is a tensor for certain."""
    if not _VARIABLE.match(text):
        return _read(text, "", find, in_list)
    assigned = find(text)
    if assigned is None:
        return Value("tensor", text, text)
    return _read(assigned, text, find, in_list)


def _read(text: str, name: str, find: Callable[[str], str | None], in_list: bool) -> Value:
    if text in {"None", "True", "False"}:
        return Value("none" if text == "None" else "bool", text, name)
    number = read_exact(text)
    if number is not None:
        kind = "int" if isinstance(number.value, int) else "float"
        return Value(kind, spell_for_python(number.text, number.value), name)
    if _COMPLEX.match(text):
        return Value("complex", text, name)
    if text[:1] in {"'", '"'} and text[-1:] == text[:1] and text.count(text[0]) == 2:
        return Value("text", text, name)
    if text.startswith("(") and text.endswith(")") and _WORD.match(text[1:-1]):
        return _read(text[1:-1], name, find, in_list)  # `v_1 = (ij)`
    if text.startswith("[") and text.endswith("]"):
        words = split_arguments(text[1:-1] + ")")
        # No schema has a list of lists, and a list that names itself would never end.
        if words is not None and not in_list:
            return Value("list", text, name, tuple(read_value(word, find, True) for word in words))
    elif _ATTRIBUTE.match(text) or _TENSOR_MAKER.match(text):
        return Value("tensor", name or text, name)
    elif _VARIABLE.match(text):
        return Value("unknown", name or text, name)
    elif _WORD.match(text) and (_DTYPE.match(text) or "." not in text):
        return Value("word", text, name)
    return Value("unknown", name or text, name)


def misfit(value: Value, kind: str) -> int | None:
    """How badly a value fits a schema's type: 0 well, more with a conversion, None not at all."""
    if kind.endswith("?"):
        return 0 if value.kind == "none" else misfit(value, kind[:-1])
    if value.kind == "unknown":
        return 0
    if kind.endswith("]"):
        if value.kind == "none":
            return 1  # pnnx makes None of an empty list
        if value.kind != "list":
            return None
        element = kind[:-1].rpartition("[")[0]
        found = [misfit(item, element) for item in value.items]
        return None if None in found else max((f for f in found if f is not None), default=0)
    if kind == "Tensor":
        if value.kind == "tensor":
            return 0
        return 2 if value.kind in _NUMBERS else None  # pnnx folds a tensor of no dimensions into a number
    if kind == "Scalar":
        return {"bool": 1, "int": 0, "float": 0, "complex": 0}.get(value.kind)
    if kind in {"int", "SymInt"}:
        return 0 if value.kind == "int" else None
    if kind == "float":
        return {"float": 0, "int": 1}.get(value.kind)
    if kind == "complex":
        return {"complex": 0, "float": 1, "int": 1}.get(value.kind)
    if kind == "bool":
        return 0 if value.kind == "bool" else None
    if kind in {"str", "Device"}:
        return 0 if value.kind in {"word", "text"} else None
    if kind in _ENUMERATIONS:
        if value.kind == "word":
            return 0 if _DTYPE.match(value.text) else None
        return 0 if value.kind == "int" and 0 <= int(value.text) < len(_ENUMERATIONS[kind]) else None
    return None


def spell(value: Value, kind: str) -> str:
    """The Python expression that gives a value as a schema's type."""
    if kind.endswith("?"):
        return "None" if value.kind == "none" else spell(value, kind[:-1])
    if value.kind == "none" and kind.endswith("]"):
        return "[]"
    if value.kind == "list":
        element = kind[:-1].rpartition("[")[0] if kind.endswith("]") else ""
        text = f"[{', '.join(spell(item, element) for item in value.items)}]"
        # A list of tensors, or a long one, is read from the statement that makes it, if that is right.
        as_it_is = text == value.text and bool(value.name)
        return value.name if as_it_is and not (value.is_constant and len(text) <= _LONGEST_INLINE) else text
    if kind in _ENUMERATIONS and value.kind == "int":
        return f"torch.{_ENUMERATIONS[kind][int(value.text)]}"
    if kind in {"str", "Device"} and value.kind == "word":
        return repr(value.text)
    if kind == "Tensor" and value.kind in _NUMBERS:
        return f"torch.tensor({value.text})"
    return value.text if value.is_constant or not value.name else value.name


def is_default(value: Value, default: str | None) -> bool:
    """Whether a value is what the schema has for an argument that is left out."""
    if default is None or not value.is_constant:
        return False
    meant = read_value(default.strip(), lambda _: None)
    if value.kind == "list" and meant.kind in _NUMBERS:
        return bool(value.items) and all(_equals(item, meant) for item in value.items)  # `int[2] padding=0`
    return _equals(value, meant)


def _equals(one: Value, two: Value) -> bool:
    if one.kind == two.kind == "list":
        return len(one.items) == len(two.items) and all(map(_equals, one.items, two.items))
    if {one.kind, two.kind} <= {"word", "text"}:
        return one.text.strip("'\"") == two.text.strip("'\"")
    if {one.kind, two.kind} <= {"int", "float"}:
        first, second = read_exact(one.text), read_exact(two.text)
        return first is not None and second is not None and first.value == second.value
    return one.kind == two.kind and one.text == two.text
