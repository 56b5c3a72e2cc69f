"""TorchScript's own operators on tuples, lists, dicts and numbers, which Python has as syntax."""

from __future__ import annotations

from collections.abc import Sequence

from pnnxfix.rules.schema_values import Value, spell

# Operator: number of arguments and the expression. Source: torch/csrc/jit/runtime/register_prim_ops.cpp.
_FORMS: dict[str, tuple[int, str]] = {
    "prim::TupleIndex": (2, "{0}[{1}]"),
    "prim::NumToTensor": (1, "torch.tensor({0})"),
    "prim::data": (1, "{0}.detach()"),
    "prim::device": (1, "{0}.device"),
    "prim::dtype": (1, "{0}.dtype"),
    "prim::layout": (1, "{0}.layout"),
    "prim::shape": (1, "{0}.shape"),
    "aten::Bool": (1, "bool({0})"),
    "aten::Float": (1, "float({0})"),
    "aten::FloatImplicit": (1, "float({0})"),
    "aten::Int": (1, "int({0})"),
    "aten::IntImplicit": (1, "int({0})"),
    "aten::ScalarImplicit": (1, "{0}.item()"),
    "aten::__getitem__": (2, "{0}[{1}]"),
    "aten::__is__": (2, "{0} is {1}"),
    "aten::__isnot__": (2, "{0} is not {1}"),
    "aten::__not__": (1, "not {0}"),
    "aten::len": (1, "len({0})"),
}


_UNPACKED = frozenset({"prim::ListUnpack", "prim::TupleUnpack"})
_MADE = frozenset({"prim::ListConstruct", "prim::TupleConstruct", "prim::DictConstruct"})


def is_form(operator: str) -> bool:
    """Whether an operator is one of those here."""
    return operator in _FORMS or operator in _UNPACKED or operator in _MADE


def translate_form(operator: str, arguments: Sequence[Value], outputs: int) -> str | None:
    """The expression for an operator of this kind, None for every other one."""
    words = [spell(value, "str" if value.kind == "word" else "") for value in arguments]
    match operator:
        case "prim::ListConstruct":
            return f"[{', '.join(words)}]"
        case "prim::TupleConstruct":
            return f"({''.join(f'{word}, ' for word in words)})"
        case "prim::DictConstruct" if len(words) % 2 == 0:
            pairs = zip(words[::2], words[1::2], strict=True)
            return f"{{{', '.join(f'{key}: {value}' for key, value in pairs)}}}"
        case _ if operator in _UNPACKED and len(words) == 1:
            return words[0] if outputs > 1 else f"{words[0]}[0]"
    count, form = _FORMS.get(operator, (0, ""))
    return form.format(*words) if form and count == len(words) and outputs == 1 else None
