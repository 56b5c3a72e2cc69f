"""`docs/coverage.md`: a summary, then every operator on a line of its own, sorted by name."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.coverage.compare import Tolerance
from scripts.coverage.corpus import Record
from scripts.coverage.judge import (
    NCNN_STATES,
    NCNN_TOLERANCE,
    PYTHON_STATES,
    PYTHON_TOLERANCE,
    Verdict,
    Verdicts,
)
from scripts.coverage.repair import Left, Repair

LONGEST_REASON = 200


@dataclass(frozen=True, slots=True)
class Result:
    """All that a run found out, by case."""

    source: str
    versions: Mapping[str, str]
    records: Mapping[str, Record]
    before: Mapping[str, Verdicts]
    after: Mapping[str, Verdicts]
    repair: Repair

    @property
    def comparable(self) -> list[str]:
        """The cases that pnnx completed and for which PyTorch has one right answer."""
        return [name for name, verdicts in sorted(self.before.items()) if not verdicts.not_comparable]

    @property
    def became_wrong(self) -> list[str]:
        """What was right and is right no longer, as `case (Python: now wrong)`. It must be empty."""
        worse = []
        for name in self.comparable:
            for what, was, now in _files(self.before[name], self.after[name]):
                if was.state == "ok" != now.state:
                    worse.append(f"{name} ({what}: now {now.state}, {now.message or 'no message'})")
        return worse

    @property
    def wrong_repairs(self) -> list[str]:
        """What pnnxfix changed and has no finding left for, and what is nevertheless not right."""
        return [
            f"{name} ({what}: {now.state}, {now.message or 'no message'})"
            for name in self.comparable
            if name in self.repair.changed
            for what, was, now in _files(self.before[name], self.after[name])
            if was != now and now.state != "ok" and not _left(self.repair.left.get(name, Left()), what)
        ]


def _files(before: Verdicts, after: Verdicts) -> list[tuple[str, Verdict, Verdict]]:
    return [("Python", before.python, after.python), ("ncnn", before.ncnn, after.ncnn)]


def _left(left: Left, what: str) -> tuple[str, ...]:
    return left.python if what == "Python" else left.ncnn


def find_versions(pnnx: str) -> dict[str, str]:
    """Versions and machine, as they stand beside the figures."""
    from importlib.metadata import version

    import pnnxfix

    cpus = Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else ""
    models = re.findall(r"^model name\s*: *(.*)$", cpus, re.MULTILINE) or [platform.processor()]
    return {
        "pnnxfix": pnnxfix.__version__,
        "pnnx": pnnx,
        "ncnn": version("ncnn"),
        "torch": version("torch"),
        "Python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} x {models[0]}",
    }


def write_report(result: Result) -> str:
    """The whole document."""
    parts = [
        "# Operator by operator",
        "Written by `make coverage`; do not edit. Each operator of PyTorch's OpInfo database is traced with "
        "one sample, converted by pnnx, judged, repaired by `pnnxfix fix`, and judged again. Every verdict "
        "is a run against PyTorch's own outputs: "
        f"Python within {_spell(PYTHON_TOLERANCE)}, ncnn in fp32 within {_spell(NCNN_TOLERANCE)} "
        "(networks with weights, which are half floats: of the output's root mean square).",
        _table(("", ""), [(f"**{name}**", text) for name, text in result.versions.items()]),
        "## Summary",
        *_summarise(result),
        "## Was right and became wrong",
        _bullets(result.became_wrong),
        "## Repaired, nothing left to report, and yet not right",
        _bullets(result.wrong_repairs),
        "## Changed by a second run",
        _bullets(result.repair.unstable),
        "## All operators",
        "`-` stands for: pnnx wrote no such file. The reason is pnnxfix's own where it has a finding left, "
        "otherwise what the run showed.",
        _operators(result),
        "## Not comparable",
        "PyTorch's own result depends on the seed or on memory that nobody wrote. Such files are repaired; "
        "only that they run is judged.",
        _not_comparable(result),
        "## Without a conversion",
        _table(("operator", "reason"), _skipped(result)),
    ]
    return "\n\n".join(parts) + "\n"


def _spell(tolerance: Tolerance) -> str:
    return f"{tolerance.relative:g} relative + {tolerance.absolute:g} absolute"


def _summarise(result: Result) -> list[str]:
    completed = [name for name in result.comparable if result.before[name].python.state != "none"]
    total = len(completed)
    rows = []
    for what, states in (("Python", PYTHON_STATES), ("ncnn", NCNN_STATES)):
        counts = [
            Counter(
                (verdicts[name].python if what == "Python" else verdicts[name].ncnn).state
                for name in completed
            )
            for verdicts in (result.before, result.after)
        ]
        for state in states:
            was, now = (count[state] for count in counts)
            if was or now:
                rows.append((what, state, f"{_share(was, total)} -> {_share(now, total)}"))
    records = result.records.values()
    seconds = sum(record.seconds for record in records)
    repair = result.repair
    speed = (
        f"One `fix` run over all {len(repair.cases)} conversions took {repair.seconds:.1f} s, "
        f"{repair.per_second:.0f} conversions per second"
    )
    if seconds:
        speed += f"; pnnx took {seconds:.0f} s to make them, {seconds / repair.seconds:.0f} times as long"
    return [
        f"{result.source}: {len(result.records)} operators, "
        f"{sum(bool(record.skipped) for record in records)} that PyTorch cannot trace, "
        f"{sum(bool(record.failure) for record in records)} on which pnnx fails, "
        f"{len(result.before) - len(result.comparable)} without one right answer. The others are {total} "
        "conversions that pnnx completed and that are deterministic, before -> after:",
        _table(("", "verdict", "conversions"), rows),
        speed + ".",
    ]


def _share(count: int, total: int) -> str:
    return f"{count} ({count / total:.0%})" if total else str(count)


def _operators(result: Result) -> str:
    rows = []
    for name in result.comparable:
        before, after = result.before[name], result.after[name]
        if before.python.state == "none" and before.ncnn.state == "none":
            continue
        left = result.repair.left.get(name, Left())
        cells = [name]
        for what, was, now in _files(before, after):
            cells += [_step(was, now), _reason(now, _left(left, what))]
        rows.append(tuple(cells))
    return _table(("operator", "Python", "why not", "ncnn", "why not"), rows)


def _step(was: Verdict, now: Verdict) -> str:
    first, last = ("-" if verdict.state == "none" else verdict.state for verdict in (was, now))
    return first if first == last else f"{first} -> **{last}**"


def _reason(now: Verdict, left: tuple[str, ...]) -> str:
    if now.state in ("ok", "none"):
        return ""
    return "; ".join(left) or now.message or now.state


def _not_comparable(result: Result) -> str:
    rows = []
    for name, verdicts in sorted(result.before.items()):
        if verdicts.not_comparable:
            steps = [_run_step(was, now) for _, was, now in _files(verdicts, result.after[name])]
            rows.append((name, *steps, verdicts.not_comparable))
    return _table(("operator", "Python", "ncnn", "reason"), rows)


def _run_step(was: Verdict, now: Verdict) -> str:
    """As `_step`, for what has no right numbers: `ok` and `wrong` both mean that it ran."""
    ran = [Verdict("runs") if verdict.state in ("ok", "wrong") else verdict for verdict in (was, now)]
    return _step(*ran)


def _skipped(result: Result) -> list[tuple[str, str]]:
    reasons = {name: record.skipped or record.failure for name, record in result.records.items()}
    return [(name, reason) for name, reason in sorted(reasons.items()) if reason]


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_cell(line)}" for line in lines) or "None."


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return "None."
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"
