"""`pnnxfix check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pnnxfix.cli.help import help_option
from pnnxfix.cli.parameters import given, shared

_EPILOG = """\b
Examples:
  pnnxfix check .                         all conversions below
  pnnxfix check model.ncnn.param          this conversion, with the files beside it
  pnnxfix check --log pnnx.log model.ncnn.param   what pnnx printed, explained
  pnnxfix check --custom-layer YoloV5Focus models/
  pnnxfix check --output-format sarif . > pnnxfix.sarif

\b
Exit codes:
  0  nothing found
  1  findings
  2  a usage error, or something could not be read; 2 wins over 1
"""


@click.command("check", epilog=_EPILOG, add_help_option=False)
@help_option
@shared
def command(
    paths: tuple[Path, ...],
    config: Path | None,
    output_format: str,
    quiet: bool,
    color: bool | None,
    **settings: Any,
) -> int:
    """Report what is wrong, file by file; write nothing.

    PATH is a directory, which is searched, or a file of a conversion.
    A finding marked [*] is one that `pnnxfix fix` repairs. With --log each line that matters of
    what pnnx printed is explained: harmless, repaired, suspect or fatal.
    """
    from pnnxfix.cli.run import View, run_check
    from pnnxfix.cli.settings import make_options

    options = make_options(paths, config, given(settings))
    view = View(output_format, quiet, color)
    if options.logs:
        from pnnxfix.cli.explained import run_explained_check

        return run_explained_check(paths, options, view, click.get_current_context().obj or {})
    return run_check(paths, options, view)
