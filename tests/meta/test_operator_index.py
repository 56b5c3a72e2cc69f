"""The index that says which module holds an operator's rule fits the modules."""

from __future__ import annotations

from pathlib import Path

from pnnxfix.rules.registry import operator_rules, walk_operator_modules

INDEX = Path(__file__).resolve().parents[2] / "pnnxfix" / "data" / "operators.txt"


def test_index_is_current() -> None:
    expected = sorted(
        f"{rule.operator} {module}" for module, rules in walk_operator_modules() for rule in rules
    )
    assert INDEX.read_text().splitlines() == expected, "run `make index`"


def test_no_operator_has_two_rules() -> None:
    names = [rule.operator for _, rules in walk_operator_modules() for rule in rules]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)


def test_every_rule_is_found_by_its_operator() -> None:
    rules = operator_rules()
    assert all(rules[operator].operator == operator for operator in rules)
