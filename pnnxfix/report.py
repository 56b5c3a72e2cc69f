"""What `check` and `fix` tell: findings, problems, changes, and the report that holds them.

What never changes is a NamedTuple here: each run defines these classes anew, and a frozen dataclass
takes ten times as long to define.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that is wrong in one file.

    `line` and `column` count from 1. `refusal` says why `fix` leaves it alone and is None
    exactly when `fix` repairs it; `help` says what to do next in either case.
    """

    path: Path
    line: int
    column: int
    code: str
    name: str
    message: str
    help: str
    operator: str = ""
    refusal: str | None = None

    @property
    def fixable(self) -> bool:
        return self.refusal is None

    @property
    def position(self) -> tuple[str, int, int, str]:
        """What findings are sorted by."""
        return (str(self.path), self.line, self.column, self.code)


class Problem(NamedTuple):
    """Something that could not be read, run or written; it makes the exit code 2."""

    path: Path
    message: str
    help: str = ""
    line: int = 0
    column: int = 0


class Change(NamedTuple):
    """A file's bytes before and after a fix.

    `pieces` are those after it: what stays of a large file is not copied. A `.bin` is not held in memory:
    for it both are empty, and `inserted` are the bytes that come in, each with the position of the byte
    that they come before, in order.
    """

    path: Path
    before: bytes
    pieces: Sequence[bytes | memoryview]
    inserted: tuple[tuple[int, bytes], ...] = ()

    @property
    def after(self) -> bytes:
        return b"".join(self.pieces)


@dataclass(slots=True)
class ConversionReport:
    """One conversion: all files that pnnx wrote for one model.

    `findings` are those that stand (after a fix: those that remain), `fixed` those that `fix`
    repaired (with `--diff`: would repair), `notes` single sentences worth knowing.
    """

    stem: Path
    findings: list[Finding] = field(default_factory=list)
    fixed: list[Finding] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """The outcome of one run over any number of conversions.

    `problems` are those of no single conversion (a path that is missing, for one).
    """

    conversions: list[ConversionReport] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        """All findings that stand, sorted by file and position."""
        return sorted((f for c in self.conversions for f in c.findings), key=lambda f: f.position)

    @property
    def fixed(self) -> list[Finding]:
        """All findings that were repaired, sorted by file and position."""
        return sorted((f for c in self.conversions for f in c.fixed), key=lambda f: f.position)

    @property
    def all_problems(self) -> list[Problem]:
        return self.problems + [p for c in self.conversions for p in c.problems]

    @property
    def exit_code(self) -> int:
        """0 nothing left, 1 findings remain, 2 something could not be read, run or written."""
        if self.all_problems:
            return 2
        return 1 if any(c.findings for c in self.conversions) else 0
