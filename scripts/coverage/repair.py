"""Repairs a copy of a corpus in one run, and again."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pnnxfix
from pnnxfix.report import ConversionReport
from pnnxfix.rules.leaks import LeakedExpression
from scripts.coverage.corpus import Case, digest

LEAKED_EXPRESSION = LeakedExpression.code


@dataclass(frozen=True, slots=True)
class Left:
    """What pnnxfix says of a conversion that it has not wholly repaired: its reasons, by file."""

    python: tuple[str, ...] = ()
    ncnn: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Repair:
    """The repaired copies and what the run cost."""

    cases: list[Case]
    changed: frozenset[str]
    unstable: tuple[str, ...]
    seconds: float
    left: dict[str, Left] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Conversions per second."""
        return len(self.cases) / self.seconds if self.seconds else 0.0


def repair_copy(cases: Sequence[Case], target: Path) -> Repair:
    """Copy the cases to `target`, which is emptied, and run `pnnxfix.fix` over it twice.

    `unstable` are the cases that the second run changes: there must be none.
    """
    shutil.rmtree(target, ignore_errors=True)
    copies = [Case(target / case.name) for case in cases]
    for case, copy in zip(cases, copies, strict=True):
        shutil.copytree(case.folder, copy.folder)
    original = {case.name: digest(case) for case in copies}
    started = time.monotonic()
    report = pnnxfix.fix(target)
    seconds = time.monotonic() - started
    first = {case.name: digest(case) for case in copies}
    pnnxfix.fix(target)
    second = {case.name: digest(case) for case in copies}
    return Repair(
        copies,
        frozenset(name for name in first if first[name] != original[name]),
        tuple(name for name in first if first[name] != second[name]),
        seconds,
        {conversion.stem.parent.name: _read(conversion) for conversion in report.conversions},
    )


def _read(conversion: ConversionReport) -> Left:
    folder = conversion.stem.parent
    # A problem stops the repair of the whole conversion, so it is the reason in every file.
    problems = [_tidy(problem.message, folder) for problem in conversion.problems]
    python, ncnn = list(problems), list(problems)
    for finding in conversion.findings:
        # An Expression stays because of the operator that reads it, which has a finding of its own.
        if finding.code == LEAKED_EXPRESSION:
            continue
        reason = _tidy(f"{finding.code} {finding.message}: {finding.refusal}", folder)
        if finding.path.name.endswith("_pnnx.py"):
            python.append(reason)
        elif finding.path.name.endswith(".ncnn.param"):
            ncnn.append(reason)
    return Left(tuple(dict.fromkeys(python)), tuple(dict.fromkeys(ncnn)))


def _tidy(text: str, folder: Path) -> str:
    """Without the folder, which differs between machines, and the names of temporary files."""
    return re.sub(r"\S*\.pnnxfix\S*", "the result", text.replace(f"{folder}/", "").replace("\n", " "))
