"""Findings, problems, notes and the summary as text for people."""

from __future__ import annotations

from collections import Counter

from pnnxfix.cli.console import BOLD, CYAN, GREEN, RED, YELLOW, Paint, count, printable, shown
from pnnxfix.report import ConversionReport, Finding, Report


def render_findings(report: Report, paint: Paint, full: bool) -> str:
    """One line for each finding that stands; with `full` also what keeps it, and what to do."""
    return "".join(_finding(finding, paint, full) for finding in report.findings)


def _finding(finding: Finding, paint: Paint, full: bool) -> str:
    where = paint(f"{printable(shown(finding.path))}:{finding.line}:{finding.column}:", BOLD)
    mark = f" [{paint('*', GREEN)}]" if finding.fixable else ""
    text = f"{where} {paint(finding.code, RED)} {finding.name}{mark} {printable(finding.message)}\n"
    if full and finding.refusal is not None:
        text += _detail("not repaired", finding.refusal, paint)
    if full and finding.help:
        text += _detail("help", finding.help, paint)
    return text


def _detail(label: str, text: str, paint: Paint) -> str:
    first, *rest = [printable(line) for line in text.splitlines()]
    indent = " " * (len(label) + 6)
    return "".join([f"    {paint(label, CYAN)}: {first}\n", *(f"{indent}{line}\n" for line in rest)])


def render_problems(report: Report, paint: Paint) -> str:
    """What could not be read, run or written, in the order in which it was met."""
    text = ""
    for problem in report.all_problems:
        position = f":{problem.line}:{problem.column}" if problem.line else ""
        where = paint(f"{printable(shown(problem.path))}{position}:", BOLD)
        text += f"{where} {paint('error', RED)}: {printable(problem.message)}\n"
        if problem.help:
            text += _detail("help", problem.help, paint)
    return text


def render_notes(report: Report, paint: Paint) -> str:
    """The single sentences of each conversion that are worth knowing."""
    return "".join(
        f"{printable(shown(conversion.stem))}: {paint('note', YELLOW)}: {printable(note)}\n"
        for conversion in report.conversions
        for note in conversion.notes
    )


def render_summary(command: str, report: Report, dry_run: bool) -> str:
    """What was repaired, conversion by conversion, and one line with the numbers."""
    if command == "check":
        return _check_summary(report)
    lines = "".join(_repairs(conversion) for conversion in report.conversions if conversion.fixed)
    return lines + _fix_summary(report, dry_run)


def _check_summary(report: Report) -> str:
    findings = report.findings
    if not findings:
        return f"No findings in {count(len(report.conversions), 'conversion')}{_problems(report)}.\n"
    damaged = sum(bool(conversion.findings) for conversion in report.conversions)
    fixable = sum(finding.fixable for finding in findings)
    remedy = f"; {fixable:,} can be repaired with `pnnxfix fix`" if fixable else ""
    total = f"Found {count(len(findings), 'finding')} in {count(damaged, 'conversion')}"
    return f"{total}{remedy}{_problems(report)}.\n"


def _repairs(conversion: ConversionReport) -> str:
    rules = Counter(f"{finding.code} {finding.name}" for finding in conversion.fixed)
    kinds = ", ".join(f"{number:,} {rule}" for rule, number in sorted(rules.items()))
    files = ", ".join(printable(change.path.name) for change in conversion.changes)
    return f"{printable(shown(conversion.stem))}: {kinds} ({files})\n"


def _fix_summary(report: Report, dry_run: bool) -> str:
    changed = [conversion for conversion in report.conversions if conversion.changes]
    left = len(report.findings)
    if not changed:
        where = f"in {count(len(report.conversions), 'conversion')}"
        return f"Nothing to fix {where}; {left:,} left{_problems(report)}.\n"
    fixed = count(len(report.fixed), "finding")
    files = count(sum(len(conversion.changes) for conversion in changed), "file")
    where = f"in {count(len(changed), 'conversion')} ({files})"
    if dry_run:
        return f"Would fix {fixed} {where}; {left:,} would be left{_problems(report)}.\n"
    return f"Fixed {fixed} {where}; {left:,} left{_problems(report)}.\n"


def _problems(report: Report) -> str:
    number = len(report.all_problems)
    return f"; {count(number, 'error')}" if number else ""
