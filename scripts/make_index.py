"""Writes `pnnxfix/data/operators.txt`: which module of `rules/operators` holds each operator's rule.

A repair imports the modules that it needs and no others; importing all of them takes longer than
all else that a small repair does. Run by `make index`, and checked by a test.
"""

from __future__ import annotations

from pathlib import Path

from pnnxfix.rules.registry import walk_operator_modules

INDEX = Path(__file__).resolve().parents[1] / "pnnxfix" / "data" / "operators.txt"


def build_index() -> str:
    """One line for each operator: its type and its module, sorted."""
    lines = []
    for module, rules in walk_operator_modules():
        lines += [f"{rule.operator} {module}" for rule in rules]
    return "".join(f"{line}\n" for line in sorted(lines))


if __name__ == "__main__":
    INDEX.write_text(build_index(), encoding="utf-8")
