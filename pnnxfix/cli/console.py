"""Where text goes: colour, closed pipes, names that a terminal must not act upon."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO

import click

from pnnxfix.errors import PnnxfixError

Paint = Callable[[str, str], str]

BOLD, RED, GREEN, YELLOW, CYAN = "1", "31", "32", "33", "36"


def wants_color(stream: IO[str], switch: bool | None) -> bool:
    """Whether `stream` gets colour: the switch, then NO_COLOR, FORCE_COLOR, then a terminal."""
    if switch is not None:
        return switch
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return os.environ["FORCE_COLOR"] != "0"
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def painter(stream: IO[str], switch: bool | None) -> Paint:
    """A function that wraps text in a colour, or gives it back where `stream` wants none."""
    if wants_color(stream, switch):
        return lambda text, color: f"\x1b[{color}m{text}\x1b[0m"
    return lambda text, color: text


def write(stream: IO[str], text: str | bytes) -> None:
    """Write `text` as it is, and flush. A reader that has gone away (`| head`) is no error.

    Raises PnnxfixError where it cannot be written otherwise, on a full disk, say.
    """
    try:
        click.echo(text, file=stream, nl=False, color=True)
    except OSError as error:
        # The interpreter flushes once more when it ends, and would complain then.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        if not isinstance(error, BrokenPipeError):
            raise PnnxfixError(f"the output cannot be written: {error.strerror}") from None


def printable(text: str) -> str:
    """`text` on one line, with control characters and lone surrogates as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(path: str | os.PathLike[str]) -> str:
    """`path` relative to the working directory where it is below that, else as it is."""
    text = os.fspath(path)
    below = os.path.join(os.getcwd(), "")
    absolute = os.path.abspath(text)
    return absolute[len(below) :] if absolute.startswith(below) else text


def count(number: int, noun: str) -> str:
    """`1 file`, `3 files`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
