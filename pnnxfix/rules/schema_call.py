"""Any leaked operator as Python: the overload is chosen, its arguments are put where they belong.

pnnx prints the arguments of an operator by position in the order of its schema, all of them,
keyword-only ones and defaults included, and drops the name of the overload.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pnnxfix.data.schemas import schema_versions
from pnnxfix.rules.base import OperatorRule, Refusal
from pnnxfix.rules.schema_forms import is_form, translate_form
from pnnxfix.rules.schema_types import Overload, Parameter, find_overloads
from pnnxfix.rules.schema_values import Value, is_default, misfit, spell

REDUCTIONS = {"0": "'none'", "1": "'mean'", "2": "'sum'"}
NAMESPACES = frozenset({"aten", "prim", "quantized", "_quantized", "mkldnn", "onednn", "sparse"})
_MOST_ARGUMENTS = 255

# Without a dim their overloads compute the same, so it does not matter which one Python takes.
_REDUCED_ALIKE = frozenset({"aten::all", "aten::any"})
_EDIT = "replace the operator in the PyTorch model before it is traced, or edit this statement"


@dataclass(frozen=True, slots=True)
class Translation:
    """A leaked call as a Python expression.

    `note` is what the user should know of it, or empty. `gives_list` is whether its value is a list.
    """

    expression: str
    note: str = ""
    gives_list: bool = False


@dataclass(frozen=True, slots=True)
class _Bound:
    """An overload with its arguments in a call: those by position, and those by name."""

    overload: Overload
    positional: tuple[tuple[Parameter, Value], ...]
    named: tuple[tuple[Parameter, Value], ...]


class SchemaArguments(OperatorRule):
    """The arguments of an operator that has no rule, named by their positions from 0."""

    def __init__(self, operator: str, count: int) -> None:
        self._operator = operator
        self._arguments = tuple(map(str, range(count)))

    @property
    def operator(self) -> str:
        return self._operator

    @property
    def arguments(self) -> tuple[str, ...]:
        return self._arguments


def is_known(operator: str) -> bool:
    """Whether PyTorch has this operator, or TorchScript itself."""
    return any(find_overloads(name) for name in _names(operator)) or is_form(operator)


def _names(operator: str) -> tuple[str, ...]:
    # An in-place operator loses its `_`; some have a functional twin of another name.
    return (operator, f"{operator}_functional", f"{operator}_")


def translate(operator: str, arguments: Sequence[Value], outputs: int = 1) -> Translation | Refusal:
    """The Python of `operator(arguments)`, whose result is assigned to `outputs` names.

    A Refusal where no overload fits, or where several do and mean different things.
    """
    if len(arguments) > _MOST_ARGUMENTS:
        return Refusal(f"it has more than {_MOST_ARGUMENTS} arguments", _EDIT)
    form = translate_form(operator, arguments, outputs)
    if form is not None:
        return Translation(form)
    known, fitting = False, []
    for name in _names(operator):
        overloads = find_overloads(name)
        known = known or bool(overloads)
        fitting = _choose(overloads, arguments, outputs)
        if fitting:
            break
    if not known:
        return _translate_unknown(operator, arguments)
    if not fitting:
        return Refusal(
            f"no overload of {operator} in {schema_versions()} takes these {len(arguments)} arguments", _EDIT
        )
    expressions = {_print(_bind(overload, arguments), fitting) for overload in fitting}
    if len(expressions) > 1:
        names = " and ".join(sorted(o.name or "default" for o in fitting))
        return Refusal(f"the arguments fit the overloads {names} of {operator}, which differ", _EDIT)
    return Translation(expressions.pop(), _note(fitting[0]), fitting[0].gives_list)


def _translate_unknown(operator: str, arguments: Sequence[Value]) -> Translation | Refusal:
    namespace, _, name = operator.partition("::")
    if namespace in NAMESPACES:
        return Refusal(f"{schema_versions()} has no operator {operator}", _EDIT)
    if any(value.kind == "word" or any(i.kind == "word" for i in value.items) for value in arguments):
        return Refusal(f"{operator} is none of PyTorch's, and one of its arguments is a bare word", _EDIT)
    words = ", ".join(spell(value, "") for value in arguments)
    return Translation(
        f"torch.ops.{namespace}.{name.replace('::', '.')}({words})",
        f"import the library that registers `{namespace}` before this file runs",
    )


def _note(overload: Overload) -> str:
    if overload.flag == "random":
        return "its result is random, so two runs cannot be compared"
    if overload.flag == "uninitialised":
        return "its result is uninitialised memory, which cannot be compared"
    if overload.operator.startswith("torchvision::"):
        return "import torchvision before this file runs"
    return ""


# choosing


def _choose(overloads: Iterable[Overload], arguments: Sequence[Value], outputs: int) -> list[Overload]:
    """The overloads that fit best: by count of arguments and results, then by kinds."""
    found: list[tuple[int, Overload]] = []
    for overload in overloads:
        if len(overload.parameters) != len(arguments) or overload.returns != outputs:
            continue
        fits = [misfit(value, p.type) for value, p in zip(arguments, overload.parameters, strict=True)]
        if None not in fits:
            found.append((max((fit for fit in fits if fit is not None), default=0), overload))
    best = min((cost for cost, _ in found), default=0)
    chosen = [overload for cost, overload in found if cost == best]
    # The `vec` overloads of upsampling are the older form: with a size they compute the same.
    return [overload for overload in chosen if overload.name != "vec"] or chosen


def _bind(overload: Overload, arguments: Sequence[Value]) -> _Bound:
    pairs = list(zip(overload.parameters, arguments, strict=True))
    return _Bound(
        overload,
        tuple((p, v) for p, v in pairs if not p.keyword_only),
        tuple((p, v) for p, v in pairs if p.keyword_only),
    )


def _shorten(bound: _Bound) -> _Bound:
    """Without the arguments that equal their defaults, as far as the others keep their place."""
    positional = list(bound.positional)
    while positional and is_default(positional[-1][1], positional[-1][0].default):
        positional.pop()
    named = tuple((p, v) for p, v in bound.named if not is_default(v, p.default))
    return _Bound(bound.overload, tuple(positional), named)


def _may_mean_another(bound: _Bound, meant: Sequence[Overload]) -> bool:
    """Whether Python's parser could take the printed call for an overload that is not meant."""
    if bound.overload.operator in _REDUCED_ALIKE:
        return False
    others = [o for o in find_overloads(bound.overload.operator) if o not in meant]
    return any(_takes(other, bound) for other in others)


def _takes(overload: Overload, bound: _Bound) -> bool:
    given = [value for _, value in bound.positional]
    slots = overload.positional
    if len(given) > len(slots):
        return False
    by_name = {p.name: p for p in (*slots[len(given) :], *(p for p in overload.parameters if p.keyword_only))}
    pairs = list(zip(slots, given, strict=False))
    for parameter, value in bound.named:
        if parameter.name not in by_name:
            return False
        pairs.append((by_name.pop(parameter.name), value))
    if any(parameter.default is None for parameter in by_name.values()):
        return False
    # A number never stands for a tensor here: both forms of such an operator mean the same.
    return all(misfit(value, parameter.type) in {0, 1} for parameter, value in pairs)


# printing


def _print(bound: _Bound, meant: Sequence[Overload]) -> str:
    public = bound.overload.public
    if public.endswith(")") and not public.endswith("()"):
        wrapped = _print_wrapper(bound, public)
        if wrapped is not None:
            return wrapped
        public = ""
    for shorter in (_shorten(bound), bound):
        if not _may_mean_another(shorter, meant):
            return _print_call(shorter, public, "")
    if len(meant) > 1:
        return _print_call(bound, public, "")
    return _print_call(bound, "", f".{bound.overload.name or 'default'}")


def _print_call(bound: _Bound, public: str, overload: str) -> str:
    words = [spell(value, parameter.type) for parameter, value in bound.positional]
    named = [f"{parameter.name}={spell(value, parameter.type)}" for parameter, value in bound.named]
    if bound.overload.changes_in_place:
        words[0] = f"torch.clone({words[0]})"
    if public.startswith("."):
        this = words.pop(0)
        if not this.endswith(")") and not this.replace("_", "a").isalnum():
            this = f"({this})"
        if not public.endswith("()"):
            return f"{this}{public}"
        return f"{this}{public[:-2]}({', '.join(words + named)})"
    namespace, _, name = bound.overload.operator.partition("::")
    return f"{public or f'torch.ops.{namespace}.{name}{overload}'}({', '.join(words + named)})"


def _print_wrapper(bound: _Bound, template: str) -> str | None:
    """A call of a wrapper such as F.cross_entropy; None where a reduction is no constant."""
    given = {p.name: (p, v) for p, v in (*bound.positional, *bound.named)}
    name, _, inside = template[:-1].partition("(")
    words = []
    for word in inside.split(", "):
        keyword, _, argument = word.rpartition("=")
        parameter, value = given[argument.strip("*!")]
        if keyword and is_default(value, parameter.default):
            continue
        text = spell(value, parameter.type)
        if argument.endswith("!"):
            if text not in REDUCTIONS:
                return None
            text = REDUCTIONS[text]
        if argument.startswith("*"):
            text = text[1:-1] if text.startswith("[") else f"*{text}"
        words.append(f"{keyword}={text}" if keyword else text)
    return f"{name}({', '.join(words)})"
