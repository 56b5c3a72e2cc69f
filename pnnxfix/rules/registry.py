"""All rules, found by walking the package: a new file is a new rule, nothing is registered."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from functools import cache

from pnnxfix.rules import operators
from pnnxfix.rules.base import OperatorRule, Rule


@cache
def operator_rules() -> dict[str, OperatorRule]:
    """The rules of operators by the operator's type. Imports every module of `operators`."""
    return {rule.operator: rule for kind in _operator_classes() for rule in kind.instances()}


@cache
def all_rules() -> tuple[type[Rule], ...]:
    """Every rule, by code."""
    from pnnxfix.rules import console, faults, leaks

    others = [kind for module in (console, faults, leaks) for kind in _subclasses_in(vars(module), Rule)]
    return tuple(sorted([*_operator_classes(), *others], key=lambda kind: kind.code))


def _operator_classes() -> Iterator[type[OperatorRule]]:
    folder = os.path.dirname(operators.__file__)
    for name in sorted(os.listdir(folder)):
        if name.endswith(".py") and not name.startswith("_"):
            module = importlib.import_module(f"{operators.__name__}.{name[:-3]}")
            yield from _subclasses_in(vars(module), OperatorRule)


def _subclasses_in(namespace: dict[str, object], base: type[Rule]) -> Iterator[type]:
    for value in namespace.values():
        if isinstance(value, type) and issubclass(value, base) and "code" in vars(value):
            yield value
