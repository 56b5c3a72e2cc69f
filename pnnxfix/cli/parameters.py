"""The options that `check` and `fix` share, and how their text is read."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

FORMATS = ("full", "concise", "json", "github", "sarif")

_F = TypeVar("_F", bound=Callable[..., Any])


def _codes(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(code.strip().upper() for item in value for code in item.split(",") if code.strip())


def finite(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Refuses nan and infinity, which a range lets pass."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.")
    return value


def _layers(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> frozenset[str]:
    return frozenset(value)


def _values(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    read: dict[str, str] = {}
    for item in value:
        blob, equals, number = item.partition("=")
        if not (blob and equals and _is_number(number)):
            raise click.BadParameter(f"{item!r} is not BLOB=NUMBER, as in 2=0.5.")
        if read.setdefault(blob, number) != number:
            raise click.BadParameter(f"{blob!r} is given twice: {read[blob]} and {number}.")
    return read


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    # Python reads 1_0 and digits of other scripts as numbers; no file format here does.
    return text.isascii() and "_" not in text and text == text.strip()


def _paths(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(Path(item) for item in value)


def _files(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[Path, ...]:
    # click.Path would do, and asks the locale for a translation of its own name, 1 ms each run.
    for item in value:
        if os.path.isdir(item) or not os.path.exists(item):
            raise click.BadParameter(f"there is no file {item!r}.")
    return _paths(ctx, param, value)


def _logs(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[Path, ...]:
    """The files; of `-` and of named pipes a copy, as it is read more than once.

    `ctx.obj` is what each copy is called by the user.
    """
    pipes = [item for item in value if item == "-" or Path(item).is_fifo()]
    if not pipes:
        return _files(ctx, param, value)
    import shutil
    import sys
    import tempfile

    folder = tempfile.mkdtemp(prefix="pnnxfix-")
    ctx.call_on_close(lambda: shutil.rmtree(folder, ignore_errors=True))
    copies = {item: Path(folder, f"pipe{at}") for at, item in enumerate(dict.fromkeys(pipes))}
    for item, copy in copies.items():
        with open(copy, "wb") as stream, sys.stdin.buffer if item == "-" else open(item, "rb") as pipe:
            shutil.copyfileobj(pipe, stream)
    ctx.obj = {copy: Path(item) for item, copy in copies.items()}
    return tuple(copies[item] if item in copies else _files(ctx, param, (item,))[0] for item in value)


def _file(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    return None if value is None else _files(ctx, param, (value,))[0]


_SHARED = (
    click.argument("paths", metavar="PATH...", nargs=-1, required=True, callback=_paths),
    click.option("--select", metavar="CODE[,CODE]", multiple=True, callback=_codes,
                 help="Only these codes, or all that start so (PNX1)."),
    click.option("--ignore", metavar="CODE[,CODE]", multiple=True, callback=_codes,
                 help="Not these codes, nor any that start so."),
    click.option("--custom-layer", "custom_layers", metavar="TYPE", multiple=True, callback=_layers,
                 help="A layer type that your own program registers with ncnn; repeatable."),
    click.option("--value", "values", metavar="BLOB=NUMBER", multiple=True, callback=_values,
                 help="The value of a constant that the files have lost; repeatable."),
    click.option("--log", "logs", metavar="FILE", multiple=True, callback=_logs,
                 help="What pnnx printed when it converted (- for a pipe): `check` explains it, and it "
                      "holds lost values; repeatable."),
    click.option("--exclude", metavar="GLOB", multiple=True,
                 help="Files and directories to pass over when searching; repeatable."),
    click.option("--config", metavar="FILE", callback=_file,
                 help="Read [tool.pnnxfix] from this file, not from the nearest pyproject.toml."),
    click.option("--output-format", "output_format", type=click.Choice(FORMATS), default="full",
                 show_default=True, help="How findings are printed."),
    click.option("-q", "--quiet", is_flag=True, help="No notes, no summary, no progress."),
    click.option("--color/--no-color", default=None, help="Colour always, or never."),
)  # fmt: skip


def shared(command: _F) -> _F:
    """Decorate a command with the options that `check` and `fix` share."""
    for decorate in reversed(_SHARED):
        command = decorate(command)
    return command


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `values` that the user has set: an empty repeatable option says nothing."""
    return {name: value for name, value in values.items() if value not in (None, (), {}, frozenset())}
