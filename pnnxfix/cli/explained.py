"""`check --log`: the report, and after it what each line that matters of the logs means."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pnnxfix.cli.console import BOLD, CYAN, GREEN, RED, YELLOW, Paint, painter, printable, shown, write
from pnnxfix.cli.run import View, run_check
from pnnxfix.conversion.explain import Explanation, check_explained
from pnnxfix.options import Options
from pnnxfix.report import Report

COLORS = {"harmless": GREEN, "repaired": GREEN, "suspect": YELLOW, "fatal": RED, "unknown": YELLOW}


def run_explained_check(
    paths: Sequence[Path], options: Options, view: View, pipes: Mapping[Path, Path]
) -> int:
    """Check with explanations, show both, give the exit code. `pipes` are the names of copies of pipes.

    Lines that are `suspect` or `fatal` and that no finding tells already are findings. In text the
    others follow the findings; in the other formats they are notes.
    """
    others: list[Explanation] = []

    def check(paths: Sequence[Path], options: Options) -> Report:
        report, found = check_explained(paths, options)
        told = {(finding.path, finding.line, finding.code) for finding in report.findings}
        untold = (one for one in found if (one.path, one.line, one.rule.code) not in told)
        others.extend(replace(one, path=pipes.get(one.path, one.path)) for one in untold)
        report.problems = [one._replace(path=pipes.get(one.path, one.path)) for one in report.problems]
        for conversion in report.conversions:
            conversion.findings = [
                finding._replace(path=pipes.get(finding.path, finding.path))
                for finding in conversion.findings
            ]
        if view.output_format not in ("full", "concise") and report.conversions:
            paint: Paint = painter(sys.stdout, False)
            report.conversions[0].notes += [render_line(one, paint).rstrip("\n") for one in others]
        return report

    code = run_check(paths, options, view, check)
    if view.output_format in ("full", "concise"):
        paint = painter(sys.stdout, view.color)
        write(sys.stdout, render_explanations(others, paint, view.output_format == "full"))
    return code


def render_explanations(explained: Sequence[Explanation], paint: Paint, full: bool) -> str:
    """One line for each explanation; with `full` also what to do."""
    text = ""
    for one in explained:
        text += render_line(one, paint)
        if full and one.help:
            text += f"    {paint('help', CYAN)}: {printable(one.help)}\n"
    return text


def render_line(one: Explanation, paint: Paint) -> str:
    where = paint(f"{printable(shown(one.path))}:{one.line}:", BOLD)
    times = f" ({one.count:,} lines)" if one.count > 1 else ""
    places = f" [{', '.join(one.places)}]" if one.places else ""
    verdict = paint(one.verdict, COLORS[one.verdict])
    return f"{where} {one.rule.code} {one.rule.name} {verdict}: {printable(one.message + times + places)}\n"
