"""`pnnxfix convert`."""

from __future__ import annotations

from pathlib import Path

import click

from pnnxfix.cli.help import help_option
from pnnxfix.cli.parameters import finite

_EPILOG = """\b
Examples:
  pnnxfix convert model.pt inputshape=[1,3,224,224]
  pnnxfix convert model.pt inputshape=[1,16]i64 fp16=0 ncnnparam=out/net.ncnn.param ncnnbin=out/net.ncnn.bin
  pnnxfix convert --prepare model.pt inputshape=[1,3,224,224]

\b
Exit codes:
  0  an ncnn model was written that works and gives PyTorch's numbers
  1  none was: see the report
  2  a usage error, or something could not be read, run, compared or written
"""


@click.command("convert", epilog=_EPILOG, add_help_option=False)
@help_option
@click.argument("words", metavar="MODEL [KEY=VALUE]...", nargs=-1, required=True)
@click.option(
    "--prepare",
    is_flag=True,
    help="Also try a copy of the model in operators that pnnx converts; keep the better one.",
)
@click.option("--pnnx", "program", metavar="PATH", help="This pnnx, not the one that is installed.")
@click.option(
    "--custom-layer",
    "custom_layers",
    metavar="TYPE",
    multiple=True,
    help="A layer type that your own program registers with ncnn; repeatable.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    callback=finite,
    default=3600.0,
    show_default=True,
    help="For each run of pnnx, and each answer of PyTorch and ncnn.",
)
@click.option(
    "--output-format",
    type=click.Choice(["full", "json"]),
    default="full",
    show_default=True,
    help="How the report is printed.",
)
@click.option("--color/--no-color", default=None, help="Colour always, or never.")  # fmt: skip
def command(
    words: tuple[str, ...],
    prepare: bool,
    program: str | None,
    custom_layers: tuple[str, ...],
    timeout: float,
    output_format: str,
    color: bool | None,
) -> int:
    """Convert a TorchScript model to ncnn with pnnx; explain, repair and compare what comes out.

    MODEL and KEY=VALUE are pnnx's own arguments. Its console is kept beside the model, and the files
    appear when all is done, all of them or none.
    """
    import sys

    from pnnxfix.cli.console import painter, write
    from pnnxfix.cli.convert_text import render_json, render_text
    from pnnxfix.cli.settings import make_options
    from pnnxfix.conversion.arguments import read_arguments
    from pnnxfix.conversion.convert import Request, convert_model

    arguments = read_arguments(words)
    given = {"custom_layers": frozenset(custom_layers)} if custom_layers else {}
    options = make_options((arguments.model,), None, given)
    found = None if program is None else Path(program)
    report = convert_model(Request(arguments, prepare, found, options, timeout))
    if output_format == "json":
        write(sys.stdout, render_json(report))
    else:
        write(sys.stdout, render_text(report, painter(sys.stdout, color)))
    return report.exit_code
