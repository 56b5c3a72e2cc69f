"""All rules, found by walking the package: a new file is a new rule, nothing is registered."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from pnnxfix.rules import operators
from pnnxfix.rules.base import OperatorRule, Rule

if TYPE_CHECKING:
    from pnnxfix.rules.statement import StatementRule

# An installer writes all files within this time, in any order.
_INSTALL_SECONDS = 60
_INDEX = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "operators.txt")


class OperatorRules(Mapping[str, OperatorRule]):
    """The rules of operators by the operator's type; a rule's module is imported when it is asked for.

    Which module that is stands in `data/operators.txt`, which `make index` writes.
    """

    def __init__(self) -> None:
        if _is_stale():
            self._modules = {rule.operator: name for name, rules in walk_operator_modules() for rule in rules}
        else:
            with open(_INDEX, encoding="utf-8") as stream:
                self._modules = dict(line.split() for line in stream)
        self._rules: dict[str, OperatorRule] = {}

    def __getitem__(self, operator: str) -> OperatorRule:
        if operator not in self._rules:
            module = importlib.import_module(f"{operators.__name__}.{self._modules[operator]}")
            self._rules.update((rule.operator, rule) for rule in _rules_in(module))
        return self._rules[operator]

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __contains__(self, operator: object) -> bool:
        return operator in self._modules


Kind = TypeVar("Kind", bound=Rule)


def _is_stale() -> bool:
    """Whether somebody works on the rules: a module is clearly newer than the index."""
    with os.scandir(os.path.dirname(operators.__file__)) as entries:
        newest = max(entry.stat().st_mtime for entry in entries if entry.name.endswith(".py"))
    return newest > os.stat(_INDEX).st_mtime + _INSTALL_SECONDS


@cache
def operator_rules() -> OperatorRules:
    """The rules of operators by the operator's type."""
    return OperatorRules()


def walk_operator_modules() -> Iterator[tuple[str, list[OperatorRule]]]:
    """Every module of `operators` by its name, with its rules. Imports all of them."""
    for module in _walk(operators):
        yield module.__name__.rpartition(".")[2], _rules_in(module)


def _rules_in(module: ModuleType) -> list[OperatorRule]:
    return [rule for kind in _subclasses_in(vars(module), OperatorRule) for rule in kind.instances()]


@cache
def all_rules() -> tuple[type[Rule], ...]:
    """Every rule, by code."""
    from pnnxfix.rules import console, ending, faults, leaks, statements, wrong

    modules = [console, ending, faults, leaks, wrong, *_walk(statements)]
    others = [kind for module in modules for kind in _subclasses_in(vars(module), Rule)]
    return tuple(sorted([*_operator_classes(), *others], key=lambda kind: kind.code))


@cache
def statement_rules() -> dict[str, StatementRule]:
    """The rules of statements by code. Imports every module of `statements`."""
    from pnnxfix.rules import statements
    from pnnxfix.rules.statement import StatementRule

    found = (kind for module in _walk(statements) for kind in _subclasses_in(vars(module), StatementRule))
    return {kind.code: kind() for kind in found}


def _operator_classes() -> Iterator[type[OperatorRule]]:
    for module in _walk(operators):
        yield from _subclasses_in(vars(module), OperatorRule)


def _walk(package: ModuleType) -> Iterator[ModuleType]:
    folder = os.path.dirname(package.__file__ or "")
    for name in sorted(os.listdir(folder)):
        if name.endswith(".py") and not name.startswith("_"):
            yield importlib.import_module(f"{package.__name__}.{name[:-3]}")


def _subclasses_in(namespace: dict[str, object], base: type[Kind]) -> Iterator[type[Kind]]:
    for value in namespace.values():
        if isinstance(value, type) and issubclass(value, base) and "code" in vars(value):
            yield value
