"""`pnnxfix fix`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pnnxfix.cli.help import help_option
from pnnxfix.cli.parameters import given, shared

_EPILOG = """\b
Examples:
  pnnxfix fix models/                     repair all conversions below
  pnnxfix fix --diff model.ncnn.param     show what would change
  pnnxfix fix --value 2=0.5 model.ncnn.param
  pnnxfix fix --log pnnx.log model.ncnn.param
  pnnxfix fix --cut model.ncnn.param      end before a sort or an fft

\b
Exit codes:
  0  nothing left
  1  findings left; with --diff: something would change; with --exit-non-zero-on-fix: it did
  2  a usage error, or something could not be read, run or written; 2 wins over 1
"""


@click.command("fix", epilog=_EPILOG, add_help_option=False)
@help_option
@shared
@click.option("--diff", is_flag=True, help="Print what would change as a unified diff; write nothing.")
@click.option("--exit-non-zero-on-fix", is_flag=True, help="Exit with 1 also if all could be repaired.")
@click.option(
    "--style",
    type=click.Choice(["operator", "clamp"]),
    help="In Python: torch.clamp_min(x, 0), or torch.clamp(x, min=0), the form that pnnx converts."
    "  [default: operator]",
)
@click.option(
    "--fuse/--no-fuse",
    default=None,
    help="Put a Clip into the layer before it where pnnx would.  [default: fuse]",
)
@click.option(
    "--cut",
    is_flag=True,
    default=None,
    help="Let a network end before what ncnn cannot compute; say which blob to extract and what is left.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Run the repaired model first, as `pnnxfix verify` does; write what agrees.",
)
@click.option(
    "--report",
    "page",
    metavar="FILE.html",
    help="With --verify: a page with errors, and each repair drawn before and after.",
)
@click.option(
    "--load-check/--no-load-check",
    default=None,
    help="Let ncnn load the result before it is written, and run it once where operators became several "
    "layers.  [default: unless the graph is large]",
)  # fmt: skip
def command(
    paths: tuple[Path, ...],
    config: Path | None,
    output_format: str,
    quiet: bool,
    color: bool | None,
    diff: bool,
    exit_non_zero_on_fix: bool,
    verify: bool,
    page: str | None,
    **settings: Any,
) -> int:
    """Repair in place, each conversion whole or not at all.

    PATH is a directory, which is searched, or a file of a conversion, whose other files are
    found and repaired with it.
    """
    from pnnxfix.cli.run import View, run_fix
    from pnnxfix.cli.settings import make_options

    if diff and output_format not in ("full", "concise"):
        raise click.UsageError(f"--diff prints a diff: it does not go with --output-format {output_format}.")
    if diff and verify:
        raise click.UsageError("--diff writes nothing that could be run: it does not go with --verify.")
    if verify and settings.get("cut"):
        raise click.UsageError("--verify compares whole networks: it does not go with --cut.")
    if page is not None and not verify:
        raise click.UsageError("--report shows what --verify found: it needs that.")
    options = make_options(paths, config, {**given(settings), "dry_run": diff})
    view = View(output_format, quiet, color)
    if not verify:
        return run_fix(paths, options, view, exit_non_zero_on_fix)
    from pnnxfix.verify.gate import Gate
    from pnnxfix.verify.page import write_page
    from pnnxfix.verify.settings import Settings

    gate = Gate(Settings(bisect=True))
    code = run_fix(paths, options._replace(before_commit=gate), view, exit_non_zero_on_fix)
    if page is not None:
        write_page(Path(page), gate.verdicts)
    return code
