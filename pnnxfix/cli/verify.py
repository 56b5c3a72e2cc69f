"""`pnnxfix verify`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pnnxfix.cli.help import help_option
from pnnxfix.cli.parameters import finite

_EPILOG = """\b
Examples:
  pnnxfix verify model.ncnn.param            against the TorchScript file beside it
  pnnxfix verify --reference net.pt out/     against another one
  pnnxfix verify --bisect model.ncnn.param   and where it goes wrong first
  pnnxfix verify --outputs io.npz model.ncnn.param   without PyTorch
  pnnxfix verify --report out.html model.ncnn.param  a page to look at

\b
Exit codes:
  0  all forms agree with the reference
  1  one does not
  2  a usage error, or something could not be run or compared; 2 wins over 1
"""


def _inputs(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, Path]:
    read: dict[str, Path] = {}
    for item in value:
        name, equals, path = item.partition("=")
        if not (name and equals and path):
            raise click.BadParameter(f"{item!r} is not NAME=FILE, as in in0=x.npy.")
        read[name] = Path(path)
    return read


def _path(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    return None if value is None else Path(value)


@click.command("verify", epilog=_EPILOG, add_help_option=False)
@help_option
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--reference",
    metavar="FILE",
    callback=_path,
    help="The TorchScript file to believe, or a _pnnx.py.  [default: the one beside the model]",
)
@click.option(
    "--outputs",
    metavar="FILE.npz",
    callback=_path,
    help="Compare with stored arrays out0, out1, ... for the inputs in0, ... stored with them.",
)
@click.option(
    "--input",
    "inputs",
    metavar="NAME=FILE.npy",
    multiple=True,
    callback=_inputs,
    help="Run on this input, not on random ones; all inputs or none.",
)
@click.option(
    "--draws",
    metavar="N",
    type=click.IntRange(0, 1000),
    default=3,
    show_default=True,
    help="How many random inputs, besides that of the generated scripts and special values.",
)
@click.option(
    "--tolerance",
    metavar="T",
    type=click.FloatRange(min=0, min_open=True),
    callback=finite,
    help="Largest error, relative to the value and the rms of its output."
    "  [default: by weights, fp32 1e-4, fp16 0.02, int8 0.2]",
)
@click.option(
    "--bisect/--no-bisect",
    default=None,
    help="Find the first operator that goes wrong.  [default: at a terminal]",
)
@click.option(
    "--report",
    "page",
    metavar="FILE.html",
    callback=_path,
    help="Write a page with errors, their way through the network, and graphs.",
)
@click.option(
    "--time-limit",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    callback=finite,
    default=300.0,
    show_default=True,
    help="For each step of each form.",
)
@click.option(
    "--memory-limit",
    metavar="MIB",
    type=click.IntRange(0),
    default=8192,
    show_default=True,
    help="For each form, beyond what its runtime takes; 0 is none.",
)
@click.option(
    "--exclude",
    metavar="GLOB",
    multiple=True,
    help="Files and directories to pass over when searching; repeatable.",
)
@click.option(
    "--output-format",
    "output_format",
    type=click.Choice(("full", "concise", "json")),
    default="full",
    show_default=True,
    help="How verdicts are printed.",
)
@click.option("-q", "--quiet", is_flag=True, help="No notes, no summary, no progress.")
@click.option("--color/--no-color", default=None, help="Colour always, or never.")  # fmt: skip
def command(
    paths: tuple[str, ...],
    page: Path | None,
    output_format: str,
    quiet: bool,
    color: bool | None,
    time_limit: float,
    memory_limit: int,
    bisect: bool | None,
    **given: Any,
) -> int:
    """Run the reference and every form of a model on the same inputs, and compare.

    PATH is a directory, which is searched, or a file of a conversion. The files' own code is run, in
    child processes: verify nothing that you would not run yourself.
    """
    if given["outputs"] is not None and given["reference"] is not None:
        raise click.UsageError("--outputs and --reference are two things to compare with: give one.")
    if page is not None and (page.is_dir() or not page.parent.is_dir()):
        raise click.UsageError(f"--report: {page} cannot be written.")  # said now, not after all the work
    try:
        import numpy  # noqa: F401
    except ImportError:
        raise click.UsageError("verify needs numpy: `pip install numpy`.") from None
    from pnnxfix.cli.progress import Progress
    from pnnxfix.cli.verdict import show
    from pnnxfix.verify.process import Limits
    from pnnxfix.verify.run import verify_paths
    from pnnxfix.verify.settings import Settings

    settings = Settings(
        bisect=sys.stdout.isatty() if bisect is None else bisect,
        limits=Limits(time_limit, memory_limit << 20),
        **given,
    )
    with Progress(enabled=not quiet and sys.stderr.isatty()) as progress:
        verdicts, problems = verify_paths([Path(path) for path in paths], settings, progress)
    code = show(verdicts, problems, output_format, quiet, color)
    if page is not None:
        from pnnxfix.verify.page import write_page

        write_page(page, verdicts)
    return code
