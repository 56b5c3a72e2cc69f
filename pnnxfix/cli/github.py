"""The report as workflow commands, which GitHub shows beside the lines of a pull request.

Source: GitHub's documentation, "Workflow commands for GitHub Actions", `::error`.
"""

from __future__ import annotations

from pnnxfix.cli.console import printable, shown
from pnnxfix.report import Report


def render_github(report: Report) -> str:
    """One `::error` line for each finding that stands, and for each problem."""
    lines = []
    for finding in report.findings:
        detail = f"not repaired: {finding.refusal}" if finding.refusal is not None else ""
        text = "\n".join(part for part in (finding.message, detail, finding.help) if part)
        title = f"{finding.code} {finding.name}"
        lines.append(_command(shown(finding.path), finding.line, finding.column, title, text))
    for problem in report.all_problems:
        text = "\n".join(part for part in (problem.message, problem.help) if part)
        lines.append(_command(shown(problem.path), problem.line, problem.column, "pnnxfix", text))
    return "".join(lines)


def _command(path: str, line: int, column: int, title: str, text: str) -> str:
    position = f",line={line},col={column}" if line else ""
    return f"::error file={_property(path)}{position},title={_property(title)}::{_data(text)}\n"


def _data(text: str) -> str:
    text = "\n".join(printable(line) for line in text.split("\n"))
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
