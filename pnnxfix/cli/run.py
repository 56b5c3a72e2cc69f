"""Runs `check` and `fix`, and shows the report in the form that was asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from pnnxfix.cli.progress import Progress
from pnnxfix.options import Options
from pnnxfix.report import Report

Runner = Callable[[Sequence[Path], Options], Report]


class View(NamedTuple):
    """How a report is shown. `color` None lets the terminal decide."""

    output_format: str
    quiet: bool
    color: bool | None


class OutputFailed(Exception):
    """The report could not be shown; `kept` says what had happened to the files by then."""

    def __init__(self, kept: str, cause: Exception) -> None:
        self.kept = kept
        self.cause = cause
        super().__init__(str(cause))


def run_check(paths: Sequence[Path], options: Options, view: View, runner: Runner | None = None) -> int:
    """Check, show the report, give the exit code. `runner` stands in for `check_paths`."""
    from pnnxfix.pipeline.run import check_paths

    report = _run(runner or check_paths, paths, options, view)
    _show("check", report, paths, options, view, report.exit_code)
    return report.exit_code


def run_fix(paths: Sequence[Path], options: Options, view: View, exit_non_zero_on_fix: bool) -> int:
    """Repair, or with `options.dry_run` tell what would be; show the report, give the exit code."""
    from pnnxfix.pipeline.run import fix_paths

    report = _run(fix_paths, paths, options, view)
    changed = any(conversion.changes for conversion in report.conversions)
    code = report.exit_code
    if not code and changed and (options.dry_run or exit_non_zero_on_fix):
        code = 1
    try:
        _show("fix", report, paths, options, view, code)
    except Exception as error:
        if not changed or options.dry_run:
            raise
        raise OutputFailed("after the files were repaired", error) from error
    return code


def _run(runner: Runner, paths: Sequence[Path], options: Options, view: View) -> Report:
    with Progress(enabled=not view.quiet and sys.stderr.isatty()) as progress:
        return runner(paths, options._replace(progress=progress))


def _show(
    command: str, report: Report, paths: Sequence[Path], options: Options, view: View, exit_code: int
) -> None:
    from pnnxfix.cli.console import painter, write

    match view.output_format:
        case "json":
            from pnnxfix.cli.json_output import render_json

            write(sys.stdout, render_json(command, report, options.dry_run, exit_code))
        case "sarif":
            from pnnxfix.cli.sarif import render_sarif

            write(sys.stdout, render_sarif(report, exit_code))
        case "github":
            from pnnxfix.cli.github import render_github

            write(sys.stdout, render_github(report))
        case _:
            from pnnxfix.cli.text import render_findings

            # With --diff stdout is a patch that other tools apply.
            stream = sys.stderr if options.dry_run else sys.stdout
            if options.dry_run:
                from pnnxfix.cli.diff import paint_diff, render_diff

                diff = render_diff(report)
                plain = not sys.stdout.isatty() and not view.color
                write(sys.stdout, diff if plain else paint_diff(diff, painter(sys.stdout, view.color)))
            full = view.output_format == "full"
            write(stream, render_findings(report, painter(stream, view.color), full))
    from pnnxfix.cli.text import render_notes, render_problems, render_summary

    paint = painter(sys.stderr, view.color)
    text = render_problems(report, paint)
    if not view.quiet:
        text += render_notes(report, paint)
        text += render_summary(command, report, options.dry_run)
        if command == "fix" and not options.dry_run:
            text += _render_unnamed(report, paths)
    write(sys.stderr, text)


def _render_unnamed(report: Report, paths: Sequence[Path]) -> str:
    """Name the changed files that the user did not: a hook is given single files of a conversion."""
    from shlex import quote

    from pnnxfix.cli.console import printable, shown

    named = {os.path.realpath(path) for path in paths}
    folders = tuple(os.path.join(path, "") for path in named if os.path.isdir(path))
    unnamed = sorted(
        printable(quote(shown(change.path)))
        for conversion in report.conversions
        for change in conversion.changes
        if (real := os.path.realpath(change.path)) not in named and not real.startswith(folders)
    )
    return f"also changed, stage them too: {' '.join(unnamed)}\n" if unnamed else ""
