"""The report as SARIF 2.1.0 (OASIS), which code scanning services read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pnnxfix import __version__
from pnnxfix.cli.console import shown
from pnnxfix.report import Finding, Problem, Report
from pnnxfix.rules.catalogue import entries

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_ROOT = "SRCROOT"


def render_sarif(report: Report, exit_code: int) -> str:
    """One run, whose results are the findings that stand; problems are notifications."""
    rules = _rules(report.findings)
    index = {rule["id"]: position for position, rule in enumerate(rules)}
    run = {
        "tool": {"driver": {"name": "pnnxfix", "version": __version__, "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {_ROOT: {"uri": Path.cwd().as_uri().removesuffix("/") + "/"}},
        "invocations": [
            {
                "executionSuccessful": not report.all_problems,
                "exitCode": exit_code,
                "toolExecutionNotifications": [_notification(problem) for problem in report.all_problems],
            }
        ],
        "results": [_result(finding, index[finding.code]) for finding in report.findings],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rules(findings: list[Finding]) -> list[dict[str, Any]]:
    documented = {entry.code: entry for entry in entries()}
    rules = []
    for code, name in sorted({finding.code: finding.name for finding in findings}.items()):
        rule: dict[str, Any] = {"id": code, "name": name}
        if code in documented:
            sections = documented[code].sections
            rule["shortDescription"] = {"text": documented[code].summary}
            rule["fullDescription"] = {"text": sections.get("What it finds", name)}
            rule["help"] = {"text": sections.get("Repair", name)}
        rules.append(rule)
    return rules


def _result(finding: Finding, rule_index: int) -> dict[str, Any]:
    refusal = f"; not repaired: {finding.refusal}" if finding.refusal is not None else ""
    return {
        "ruleId": finding.code,
        "ruleIndex": rule_index,
        "level": "error",
        "message": {"text": f"{finding.message}{refusal}"},
        "locations": [_location(os.fspath(finding.path), finding.line, finding.column)],
        "properties": {"operator": finding.operator, "fixable": finding.fixable, "help": finding.help},
    }


def _notification(problem: Problem) -> dict[str, Any]:
    text = f"{problem.message} ({problem.help})" if problem.help else problem.message
    return {
        "level": "error",
        "message": {"text": text},
        "locations": [_location(os.fspath(problem.path), problem.line, problem.column)],
    }


def _location(path: str, line: int, column: int) -> dict[str, Any]:
    text = shown(path)
    if os.path.isabs(text):
        artifact = {"uri": Path(text).as_uri()}
    else:
        artifact = {"uri": quote(os.fsencode(text.replace(os.sep, "/"))), "uriBaseId": _ROOT}
    physical: dict[str, Any] = {"artifactLocation": artifact}
    if line:
        physical["region"] = {"startLine": line, "startColumn": max(column, 1)}
    return {"physicalLocation": physical}
