"""The rules as `pnnxfix rule` teaches them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pnnxfix.rules.registry import all_rules


@dataclass(frozen=True, slots=True)
class Entry:
    """One rule's documentation. `fixable` is always, sometimes or never."""

    code: str
    name: str
    summary: str
    sections: Mapping[str, str]
    fixable: str


def entries() -> tuple[Entry, ...]:
    """All rules, by code."""
    return tuple(
        Entry(rule.code, rule.name, (rule.__doc__ or "").split("\n", 1)[0], rule.sections(), rule.fixable)
        for rule in all_rules()
    )


def entry(code: str) -> Entry:
    """The rule of a code, upper or lower case. Raises KeyError."""
    for known in entries():
        if known.code == code.upper():
            return known
    raise KeyError(code)
