"""The report of `convert`, as text and as JSON."""

from __future__ import annotations

import json
from typing import Any

from pnnxfix import __version__
from pnnxfix.cli.console import BOLD, CYAN, GREEN, RED, YELLOW, Paint, count, printable, shown
from pnnxfix.cli.explained import render_explanations
from pnnxfix.cli.json_output import finding_as_json, problem_as_json
from pnnxfix.cli.text import render_findings, render_problems
from pnnxfix.conversion.explain import Explanation
from pnnxfix.conversion.outcome import Attempt, ConvertReport
from pnnxfix.report import ConversionReport, Report

# Raised when a field goes or changes its meaning; a new field does not raise it.
SCHEMA_VERSION = 1


def render_text(report: ConvertReport, paint: Paint) -> str:
    """Versions, each way that was tried, what is left of the kept one, and the result."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    text = f"{paint(printable(shown(report.model)), BOLD)}: {versions}\n"
    for warning in report.known_bad:
        text += f"    {paint('known', YELLOW)}: {warning}\n"
    for attempt in report.attempts:
        text += _render_attempt(attempt, paint)
    for note in report.notes:
        text += f"    {paint('note', YELLOW)}: {printable(note)}\n"
    if report.reason:
        text += f"    {paint('kept', CYAN)}: {report.reason}\n"
    told = report.kept or report.attempts[0]
    if told.report is not None:
        shown_report = Report([told.report])
        text += render_findings(shown_report, paint, True) + render_problems(shown_report, paint)
    text += render_explanations(told.explanations, paint, True)
    if report.written:
        files = ", ".join(printable(shown(path)) for path in report.written)
        text += f"Wrote {files}.\n"
    return text + _render_result(report, paint)


def _render_attempt(attempt: Attempt, paint: Paint) -> str:
    text = f"  {paint(attempt.way, BOLD)}: "
    if attempt.rewritten:
        text += ", ".join(f"{number} {name}" for name, number in attempt.rewritten.items()) + " rewritten; "
    text += f"pnnx {attempt.run.ended} after {attempt.run.seconds:.1f} s"
    if attempt.culprit is not None:
        name = attempt.culprit.operator or "an operator that was not found"
        where = f" at {attempt.culprit.source}" if attempt.culprit.source else ""
        text += f"; {paint('it dies of', RED)} {printable(name + where)}"
        text += f" ({printable(attempt.culprit.evidence)})" if attempt.culprit.evidence else ""
        return f"{text}\n    {paint('help', CYAN)}: {attempt.culprit.cure}\n"
    if attempt.report is not None:
        fixed, left = len(attempt.report.fixed), len(attempt.report.findings)
        text += f"; {count(fixed, 'finding')} repaired, {left} left ({attempt.seconds[1]:.1f} s)"
    if attempt.judged is not None:
        for form in attempt.judged.forms:
            color = GREEN if form.state == "agrees" else RED
            said = f" ({printable(form.message)})" if form.message else ""
            text += f"\n    {form.form} {paint(form.state, color)}{said}"
        if attempt.milliseconds:
            text += f"\n    one inference takes ncnn {attempt.milliseconds:.3f} ms"
        told = tuple(f"{form.form} was not compared" for form in attempt.judged.forms)
        for problem in attempt.judged.problems:
            if not problem.startswith(told):
                text += f"\n    {paint('not compared', YELLOW)}: {printable(problem)}"
        text += "".join(f"\n    {paint('note', YELLOW)}: {printable(note)}" for note in attempt.judged.notes)
    return text + "\n"


def _render_result(report: ConvertReport, paint: Paint) -> str:
    if report.works:
        return f"{paint('Works', GREEN)}: the ncnn model gives PyTorch's numbers.\n"
    if report.kept is None:
        return f"{paint('No model', RED)}: pnnx does not survive it; only its log was written.\n"
    return f"{paint('Does not work', RED)}: see above; the files are as far as they could be repaired.\n"


def render_json(report: ConvertReport) -> str:
    """One JSON object, ASCII only, with a final newline. docs/convert.md holds its schema."""
    kept = report.kept
    repaired = (kept and kept.report) or ConversionReport(report.stem)
    return json.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "tool": {"name": "pnnxfix", "version": __version__},
            "command": "convert",
            "exit_code": report.exit_code,
            "model": shown(report.model),
            "versions": report.versions,
            "known_bad": report.known_bad,
            "attempts": [_attempt(attempt) for attempt in report.attempts],
            "kept": kept.way if kept is not None else None,
            "reason": report.reason,
            "works": report.works,
            "written": [shown(path) for path in report.written],
            "findings": [finding_as_json(finding) for finding in repaired.findings],
            "fixed": [finding_as_json(finding) for finding in repaired.fixed],
            "problems": [problem_as_json(problem) for problem in repaired.problems],
            "console": [_explanation(one) for one in (kept or report.attempts[0]).explanations],
            "notes": report.notes,
        },
        indent=2,
    ) + "\n"  # fmt: skip


def _attempt(attempt: Attempt) -> dict[str, Any]:
    culprit = attempt.culprit
    judged = attempt.judged
    return {
        "way": attempt.way,
        "rewritten": attempt.rewritten,
        "pnnx": {"exit_code": attempt.run.exit_code, "ended": attempt.run.ended},
        "died_of": None if culprit is None else {
            "operator": culprit.operator, "source": culprit.source, "evidence": culprit.evidence,
            "help": culprit.cure},
        "forms": [] if judged is None else [
            {"form": form.form, "state": form.state, "message": form.message} for form in judged.forms],
        "not_compared": [] if judged is None else list(judged.problems),
        "notes": [] if judged is None else list(judged.notes),
        "milliseconds": round(attempt.milliseconds, 4),
        "seconds": dict(zip(("pnnx", "repair", "comparison"), _round(attempt.seconds), strict=True)),
    }  # fmt: skip


def _round(seconds: tuple[float, ...]) -> list[float]:
    return [round(one, 3) for one in seconds]


def _explanation(one: Explanation) -> dict[str, Any]:
    return {
        "path": shown(one.path),
        "line": one.line,
        "count": one.count,
        "code": one.rule.code,
        "name": one.rule.name,
        "verdict": one.verdict,
        "message": one.message,
        "help": one.help,
        "operator": one.operator,
        "places": list(one.places),
    }
