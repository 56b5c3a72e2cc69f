"""The command `pnnxfix` itself; each subcommand is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module

import click

from pnnxfix import __version__
from pnnxfix.cli.help import help_option

_COMMANDS = {
    "check": "pnnxfix.cli.check",
    "fix": "pnnxfix.cli.fix",
    "convert": "pnnxfix.cli.convert",
    "verify": "pnnxfix.cli.verify",
    "rule": "pnnxfix.cli.rule",
    "install-hook": "pnnxfix.cli.hook",
    "staged": "pnnxfix.cli.staged",
}

_EPILOG = """\b
Examples:
  pnnxfix check .                      what is wrong, in all conversions below
  pnnxfix fix --diff model.ncnn.param  what a repair would change
  pnnxfix fix model.ncnn.param         repair all files of that conversion
  pnnxfix convert model.pt inputshape=[1,3,224,224]   pnnx, repaired and compared
  pnnxfix verify .                     prove the numbers against PyTorch; runs generated code
  pnnxfix rule PNX101                  what a code means

\b
Exit codes:
  0  nothing found (check), nothing left (fix), equal (verify), a working model (convert)
  1  findings (check), findings left (fix), files changed (fix --exit-non-zero-on-fix),
     different (verify), no working model (convert)
  2  a usage error, or something could not be read, run or written; 2 wins over 1

Settings are read from [tool.pnnxfix] in the nearest pyproject.toml.
"""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(_COMMANDS[cmd_name]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        # Plain click 8.1 names no alternative, and `pnnxfix model.param` is what many type first.
        if name not in _COMMANDS and not name.startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(name, _COMMANDS, 1) or ["check"]
            raise click.UsageError(f"no command {name!r}; did you mean `pnnxfix {near[0]}`?", ctx)
        return super().resolve_command(ctx, args)


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"pnnxfix {__version__}")
        ctx.exit()


@click.command(
    cls=_LazyGroup,
    epilog=_EPILOG,
    add_help_option=False,
    context_settings={"max_content_width": 100},
)
@help_option
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
              help="Show the version and exit.")  # fmt: skip
def app() -> None:
    """Repair what pnnx leaves behind when it converts PyTorch models to ncnn.

    A conversion is all files that pnnx wrote for one model: model.pnnx.param, model.pnnx.bin,
    model_pnnx.py, model.pnnx.onnx, model.ncnn.param, model.ncnn.bin, model_ncnn.py. Any of
    them may be missing.
    """
