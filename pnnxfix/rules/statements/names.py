"""Names of modules and stored tensors that Python does not take, or that two of them share."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable

from pnnxfix.rules.base import Rule


class NoIdentifier(Rule):
    """A module or a stored tensor whose name is no identifier.

    What it finds: `self.0 = nn.Conv2d(...)` of an `nn.Sequential`, `self.block1-0 = nn.ReLU()`.

    Why it breaks: the whole file does not parse.

    Repair: a name that Python takes, in every line that has the old one: where the module is
    made, where its weights are read, where it is called. The keys of the weights stay.

    Limits: none.

    Example:
        self.0 = nn.Conv2d(...)    ->    self._0 = nn.Conv2d(...)

    Source: pnnx ir.cpp, sanitize_identifier, which replaces `.`, `:` and `/` only.
    """

    code = "PNX210"
    name = "no-identifier"


class SharedName(Rule):
    """Two modules or stored tensors that have one name.

    What it finds: `self.a_b = nn.Linear(...)` twice, for the modules `a.b` and `a_b`.

    Why it breaks: the second takes the place of the first, which computes with its weights then:
    wrong numbers and no error.

    Repair: the second gets a name of its own. `.pnnx.param` says which of them each statement
    calls.

    Limits: only with `.pnnx.param`.

    Example:
        self.a_b = nn.Linear(...)    ->    self.a_b = nn.Linear(...)
        self.a_b = nn.Linear(...)          self.a_b_2 = nn.Linear(...)

    Source: pnnx ir.cpp, sanitize_identifier.
    """

    code = "PNX211"
    name = "shared-name"


def print_name(name: str) -> str:
    """The name as pnnx prints it."""
    return re.sub(r"[.:/]", "_", name)


def is_identifier(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


def choose_names(names: Iterable[str]) -> list[str]:
    """A name for each, all different and all identifiers; the first that has a good one keeps it."""
    names = list(names)
    taken = {name for name in names if is_identifier(name)}
    kept: set[str] = set()
    chosen: list[str] = []
    counts: dict[str, int] = {}
    for name in names:
        if name in taken and name not in kept:
            kept.add(name)
            chosen.append(name)
            continue
        base = re.sub(r"\W", "_", name)
        base = base if is_identifier(base) else f"_{base}"
        new, number = base, counts.get(base, 1)
        while new in taken:
            number += 1
            new = f"{base}_{number}"
        counts[base] = number
        taken.add(new)
        chosen.append(new)
    return chosen
