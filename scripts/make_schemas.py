"""Writes `pnnxfix/data/schemas.txt`: PyTorch's operators, and how each is called from Python.

The schemas are those that an installed PyTorch registers; torchvision's are read from its extension module
without loading it, since its wheels want the very PyTorch that they were built with. A public name is kept
only where it was shown to be the same: for functions made from the schema itself, Python's argument parser
must accept a call with every argument of the schema; for the wrappers named below, wrapper and operator must
give the same numbers.

    python scripts/make_schemas.py
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "pnnxfix" / "data" / "schemas.txt"
NAMESPACES = frozenset({"aten", "quantized", "_quantized", "mkldnn", "onednn", "sparse"})
MODULES = {"linalg_": torch.linalg, "special_": torch.special, "fft_": torch.fft}
PROPERTIES = {"numpy_T": "T", "matrix_H": "H", "mT": "mT", "mH": "mH"}
ALIAS = re.compile(r"\([a-z](?:![^)]*|\|[^)]*|[^)]*->[^)]*)?\)")
# Operators on TorchScript's own values, which no call from Python can be given.
UNSPEAKABLE = re.compile(r"\b(?:t|t1|t2|tVal|Dict\(|Future|Any|AnyEnumType|Stream|__torch__)\b|Dict\(|\bt\[")

VISION = re.compile(rb"(?<=\0)_?[a-z][a-z0-9_]*\(Tensor [^\0]* -> [^\0]+(?=\0)")

# Wrappers with other names or another order than the schema. `argument` is passed by position,
# `name=argument` by name, `argument!` as one of "none", "mean", "sum", `*argument` as single arguments.
X, Y = torch.linspace(-1.5, 1.5, 12).reshape(3, 4), torch.linspace(1.5, -0.5, 12).reshape(3, 4)
CLASSES, SIGNS = torch.tensor([1, 0, 3]), torch.tensor([1.0, -1.0, 1.0])
PROBABILITY = torch.sigmoid(X)
LOGS = torch.log_softmax(torch.linspace(-1.0, 1.0, 40).reshape(4, 2, 5), 2)
WRAPPERS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "cross_entropy_loss": (
        "F.cross_entropy(self, target, weight=weight, reduction=reduction!, ignore_index=ignore_index, "
        "label_smoothing=label_smoothing)",
        (X, CLASSES),
    ),
    "nll_loss_nd": (
        "F.nll_loss(self, target, weight=weight, reduction=reduction!, ignore_index=ignore_index)",
        (X, CLASSES),
    ),
    "binary_cross_entropy": (
        "F.binary_cross_entropy(self, target, weight=weight, reduction=reduction!)",
        (PROBABILITY, PROBABILITY.flip(0)),
    ),
    "binary_cross_entropy_with_logits": (
        "F.binary_cross_entropy_with_logits(self, target, weight=weight, pos_weight=pos_weight, "
        "reduction=reduction!)",
        (X, PROBABILITY),
    ),
    "mse_loss": ("F.mse_loss(self, target, reduction=reduction!)", (X, Y)),
    "l1_loss": ("F.l1_loss(self, target, reduction=reduction!)", (X, Y)),
    "smooth_l1_loss": ("F.smooth_l1_loss(self, target, reduction=reduction!, beta=beta)", (X, Y)),
    "huber_loss": ("F.huber_loss(self, target, reduction=reduction!, delta=delta)", (X, Y)),
    "kl_div": ("F.kl_div(self, target, reduction=reduction!, log_target=log_target)", (X, PROBABILITY)),
    "soft_margin_loss": ("F.soft_margin_loss(self, target, reduction=reduction!)", (X, Y.sign())),
    "hinge_embedding_loss": (
        "F.hinge_embedding_loss(self, target, margin=margin, reduction=reduction!)",
        (X, Y.sign()),
    ),
    "margin_ranking_loss": (
        "F.margin_ranking_loss(input1, input2, target, margin=margin, reduction=reduction!)",
        (X[:, 0], Y[:, 0], SIGNS),
    ),
    "cosine_embedding_loss": (
        "F.cosine_embedding_loss(input1, input2, target, margin=margin, reduction=reduction!)",
        (X, Y, SIGNS),
    ),
    "triplet_margin_loss": (
        "F.triplet_margin_loss(anchor, positive, negative, margin=margin, p=p, eps=eps, swap=swap, "
        "reduction=reduction!)",
        (X, Y, X.flip(0)),
    ),
    "multi_margin_loss": (
        "F.multi_margin_loss(self, target, p=p, margin=margin, weight=weight, reduction=reduction!)",
        (X, CLASSES),
    ),
    "multilabel_margin_loss": (
        "F.multilabel_margin_loss(self, target, reduction=reduction!)",
        (X, torch.tensor([[1, 0, -1, 0]] * 3)),
    ),
    "poisson_nll_loss": (
        "F.poisson_nll_loss(input, target, log_input=log_input, full=full, eps=eps, reduction=reduction!)",
        (X, PROBABILITY, True, True, 1e-8, 1),
    ),
    "ctc_loss": (
        "F.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=blank, reduction=reduction!, "
        "zero_infinity=zero_infinity)",
        (LOGS, torch.tensor([[1, 2], [3, 4]]), [4, 4], [2, 1]),
    ),
    "meshgrid": ("torch.meshgrid(*tensors, indexing=indexing)", ([X[0], Y[0]],)),
    "broadcast_tensors": ("torch.broadcast_tensors(*tensors)", ([X, Y[0]],)),
    "cartesian_prod": ("torch.cartesian_prod(*tensors)", ([X[0], Y[0]],)),
    "block_diag": ("torch.block_diag(*tensors)", ([X, Y],)),
    "atleast_1d": ("torch.atleast_1d(self)", (X[0, 0],)),
    "atleast_2d": ("torch.atleast_2d(self)", (X[0],)),
    "atleast_3d": ("torch.atleast_3d(self)", (X[0],)),
}
REDUCTIONS = {0: "none", 1: "mean", 2: "sum"}
BY_TYPE: dict[str, Any] = {
    "int": 1,
    "SymInt": 1,
    "float": 0.5,
    "bool": True,
    "Scalar": 0.5,
    "str": "sum",
    "ScalarType": torch.float32,
    "Layout": torch.strided,
    "Device": torch.device("cpu"),
    "MemoryFormat": torch.contiguous_format,
    "Generator": None,
    "complex": 1j,
}


class Accepted(Exception):
    """Raised in place of running an operator whose arguments Python's parser has taken."""


class Probe(torch.Tensor):
    """A tensor that stops every call once its arguments are parsed."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise Accepted


def sample(kind: str, probe: torch.Tensor) -> Any:
    """A value of a schema's type, for the parser only."""
    kind = kind.removesuffix("?")
    if kind.endswith("]"):
        element, _, size = kind[:-1].rpartition("[")
        return [sample(element, probe)] * (int(size) if size else 1)
    if kind == "Tensor":
        return probe
    return BY_TYPE[kind]


def type_of(argument: Any, text: str) -> str:
    """The type as the schema's text has it; the reflected one calls a ScalarType an int."""
    match = re.search(rf"([A-Za-z_]\w*(?:\?|\[\d*\])*) {re.escape(argument.name)}(?=[,=)])", text)
    if match is None:
        raise ValueError(text)
    return match[1]


def accepts(call: Callable[..., Any], schema: Any, text: str) -> bool:
    """Whether a Python function takes every argument of a schema as `translate` would pass it."""
    probe = torch.zeros(1).as_subclass(Probe)
    positional, named = [], {}
    try:
        for argument in schema.arguments:
            value = sample(type_of(argument, text), probe)
            if argument.kwarg_only:
                named[argument.name] = value
            else:
                positional.append(value)
        call(*positional, **named)
    except Accepted:
        return True
    except (TypeError, KeyError, ValueError, RuntimeError, AttributeError):
        return False
    return False


def has_tensor(text: str) -> bool:
    return "Tensor" in text.partition("(")[2].partition(") ->")[0]


def spell(schema: Any, text: str) -> str:
    """The public Python name of an overload, empty where none is the same."""
    namespace, _, name = schema.name.partition("::")
    if namespace != "aten" or not has_tensor(text):
        return ""  # only an argument that is a tensor stops the call
    if name in WRAPPERS:
        template = WRAPPERS[name][0]
        wanted = {argument.name for argument in schema.arguments}
        if set(re.findall(r"(\w+)!?[,)]", template)) == wanted:
            return template
    if name in PROPERTIES and len(schema.arguments) == 1:
        return f".{PROPERTIES[name]}"
    if name.startswith("_"):
        return ""
    for prefix, module in MODULES.items():
        short = name.removeprefix(prefix)
        if short != name and is_builtin(call := getattr(module, short, None)) and accepts(call, schema, text):
            return f"{module.__name__}.{short}"
    for place, module in (("torch", torch), ("F", F)):
        call = getattr(module, name, None)
        if is_builtin(call) and accepts(call, schema, text):
            return f"{place}.{name}"
    method = getattr(torch.Tensor, name, None)
    first = schema.arguments[0]
    if inspect.ismethoddescriptor(method) and first.name == "self" and accepts(method, schema, text):
        return f".{name}()"
    return ""


def is_builtin(call: Any) -> bool:
    return inspect.isbuiltin(call)


def check_wrappers() -> None:
    """Call each wrapper and its operator on samples. Raises SystemExit where nothing was compared."""
    for name, (template, values) in WRAPPERS.items():
        packet = getattr(torch.ops.aten, name)
        schemas = [getattr(packet, overload)._schema for overload in packet.overloads()]
        schemas = [schema for schema in schemas if spell(schema, clean(str(schema))) == template]
        if sum(compare_wrapper(packet, schema, template, values) for schema in schemas) == 0:
            raise SystemExit(f"{name}: its sample fits no overload")


def compare_wrapper(packet: Any, schema: Any, template: str, values: tuple[Any, ...]) -> bool:
    """Whether the sample fits this overload; raises where wrapper and operator then differ."""
    given = dict(zip((a.name for a in schema.arguments), values, strict=False))
    for argument in schema.arguments[len(values) :]:
        given[argument.name] = argument.default_value if argument.has_default_value() else "xy"
    operator = getattr(packet, schema.overload_name or "default")
    check_defaults(template, schema)
    for reduction in REDUCTIONS if "reduction" in given else (0,):
        if "reduction" in given:
            given["reduction"] = reduction
        try:
            want = operator(
                *(given[a.name] for a in schema.arguments if not a.kwarg_only),
                **{a.name: given[a.name] for a in schema.arguments if a.kwarg_only},
            )
        except RuntimeError as error:
            if "Expected a value of type" in str(error):
                return False
            raise
        got = call_wrapper(template, given)
        torch.testing.assert_close(list(got) if isinstance(want, list) else got, want)
    return True


def call_wrapper(template: str, given: dict[str, Any]) -> Any:
    function, words = read_template(template)
    positional, named = [], {}
    for keyword, star, argument, reduces in words:
        value = REDUCTIONS[given[argument]] if reduces else given[argument]
        if keyword:
            named[keyword] = value
        elif star:
            positional += value
        else:
            positional.append(value)
    return function(*positional, **named)


def check_defaults(template: str, schema: Any) -> None:
    """An argument that equals the schema's default is left out: the wrapper's must be the same."""
    function, words = read_template(template)
    parameters = inspect.signature(function).parameters
    defaults = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    for keyword, _, argument, reduces in words:
        if keyword and argument in defaults and keyword in parameters:
            want = REDUCTIONS[defaults[argument]] if reduces else defaults[argument]
            if parameters[keyword].default != want:
                raise SystemExit(f"{template}: the default of {keyword} is not {want}")


def read_template(template: str) -> tuple[Any, list[tuple[str, bool, str, bool]]]:
    name, _, inside = template[:-1].partition("(")
    words = []
    for word in inside.split(", "):
        keyword, _, argument = word.rpartition("=")
        words.append((keyword, argument[0] == "*", argument.strip("*!"), argument.endswith("!")))
    return eval(name, {"F": F, "torch": torch}), words


def clean(text: str) -> str:
    """A schema without its notes on aliasing, which say nothing about the call."""
    return ALIAS.sub("", text.partition("::")[2])


def entries(schema: Any) -> Iterator[str]:
    raw = str(schema)
    text = clean(raw)
    arguments = text.partition("(")[2].rpartition(" -> ")[0]
    if UNSPEAKABLE.search(text.partition("(")[2]) or "..." in text or ".prim_" in text.partition("(")[0]:
        return
    if re.search(r"Tensor\([a-z]!\) (?!self\b)", raw.rpartition(" -> ")[0]) and ", *" in arguments:
        return  # an `out=` form
    flags = ""
    operator = find_overload(schema)
    if operator is not None and torch.Tag.nondeterministic_seeded in operator.tags:
        flags = " # random"
    elif re.search(r"(?:^|_)empty", schema.name.partition("::")[2]):
        flags = " # uninitialised"
    name = spell(schema, text)
    yield f"{text}{' => ' + name if name else ''}{flags}"


def read_torchvision(folder: Path) -> list[Any]:
    """The schemas that stand in torchvision's extension module."""
    found = {text.decode() for file in folder.glob("_C*.so") for text in VISION.findall(file.read_bytes())}
    return [torch._C.parse_schema(f"torchvision::{text}") for text in sorted(found)]


def find_overload(schema: Any) -> Any:
    namespace, _, name = schema.name.partition("::")
    packet = getattr(getattr(torch.ops, namespace), name, None)
    return getattr(packet, schema.overload_name or "default", None)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write pnnxfix/data/schemas.txt.")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    versions = f"torch {torch.__version__.partition('+')[0]}"
    registered = torch._C._jit_get_all_schemas()
    schemas = [schema for schema in registered if schema.name.partition("::")[0] in NAMESPACES]
    vision = importlib.util.find_spec("torchvision")
    if vision is None or vision.origin is None:
        print("torchvision is not installed: its operators are left out")
    else:
        schemas += read_torchvision(Path(vision.origin).parent)
        versions += f", torchvision {importlib.metadata.version('torchvision')}"
    check_wrappers()
    found: defaultdict[str, list[str]] = defaultdict(list)
    for schema in schemas:
        found[schema.name] += [entry for entry in entries(schema) if entry not in found[schema.name]]
    lines = [
        "# PyTorch's operators: name, then each overload with its schema, its public Python name and a flag.",
        f"# Made by scripts/make_schemas.py from {versions}.",
    ]
    lines += ["\t".join((name, *found[name])) for name in sorted(found) if found[name]]
    arguments.output.write_text("\n".join(lines) + "\n", encoding="ascii", newline="\n")


if __name__ == "__main__":
    main()
