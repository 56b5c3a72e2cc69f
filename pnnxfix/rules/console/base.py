"""What a line of pnnx's console means: a rule that has patterns instead of a repair."""

from __future__ import annotations

import re
from functools import cache
from typing import ClassVar, Literal

from pnnxfix.rules.base import Rule

Verdict = Literal["harmless", "repaired", "suspect", "fatal", "unknown"]
"""`harmless`: nothing to do. `repaired`: `pnnxfix fix` repairs it, or has. `suspect`: the model loads and
runs, and only a comparison of numbers shows whether it is right. `fatal`: no working model. `unknown`:
pnnxfix does not know the line."""


class ConsoleRule(Rule):
    """One kind of line.

    `patterns` match a whole line. Their groups tie it to the conversion: `operand` is one of the pnnx
    graph's, `type` and `name` are an operator's, `kind` is what pnnx calls the operator (`softmax`).
    """

    fixable = "never"
    patterns: ClassVar[tuple[str, ...]]
    verdict: ClassVar[Verdict]
    meaning: ClassVar[str]
    cure: ClassVar[str] = ""

    @classmethod
    @cache
    def expression(cls) -> re.Pattern[str]:
        """All patterns as one; a group that several of them have is numbered (`kind_1`)."""
        parts = [
            re.sub(r"\(\?P<(\w+)>", rf"(?P<\1_{at}>", pattern) for at, pattern in enumerate(cls.patterns)
        ]
        return re.compile("|".join(parts), re.DOTALL)

    @classmethod
    def match(cls, line: str) -> dict[str, str] | None:
        """The groups of a line that this rule explains, None for another line."""
        found = cls.expression().fullmatch(line)
        if found is None:
            return None
        groups = found.groupdict()
        return {name.rpartition("_")[0]: text for name, text in groups.items() if text is not None}
