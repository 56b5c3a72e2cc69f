"""The report as JSON; docs/output.md describes it and holds its schema."""

from __future__ import annotations

import json
from typing import Any

from pnnxfix import __version__
from pnnxfix.cli.console import shown
from pnnxfix.report import Finding, Problem, Report

# Raised when a field goes or changes its meaning; a new field does not raise it.
SCHEMA_VERSION = 1


def render_json(command: str, report: Report, dry_run: bool, exit_code: int) -> str:
    """One JSON object, ASCII only, with a final newline."""
    return json.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "tool": {"name": "pnnxfix", "version": __version__},
            "command": command,
            "dry_run": dry_run,
            "exit_code": exit_code,
            "findings": [finding_as_json(finding) for finding in report.findings],
            "fixed": [finding_as_json(finding) for finding in report.fixed],
            "problems": [problem_as_json(problem) for problem in report.all_problems],
            "conversions": [
                {
                    "stem": shown(conversion.stem),
                    "findings": len(conversion.findings),
                    "fixed": len(conversion.fixed),
                    "changed": [shown(change.path) for change in conversion.changes],
                    "notes": list(conversion.notes),
                }
                for conversion in report.conversions
            ],
        },
        indent=2,
    ) + "\n"  # fmt: skip


def finding_as_json(finding: Finding) -> dict[str, Any]:
    return {
        "path": shown(finding.path),
        "line": finding.line,
        "column": finding.column,
        "code": finding.code,
        "name": finding.name,
        "message": finding.message,
        "help": finding.help,
        "operator": finding.operator,
        "fixable": finding.fixable,
        "refusal": finding.refusal,
    }


def problem_as_json(problem: Problem) -> dict[str, Any]:
    return {
        "path": shown(problem.path),
        "line": problem.line or None,
        "column": problem.column if problem.line else None,
        "message": problem.message,
        "help": problem.help,
    }
