"""The entry point: runs a command and turns every way out of it into an exit code."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import NoReturn


def run() -> NoReturn:
    """The command: `main`, and an end of the process that does not take the interpreter apart.

    That would take 5 ms of 50, and longer after a large file. All output is flushed where it is written.
    """
    code = main()
    atexit._run_exitfuncs()
    os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run pnnxfix with `argv` (default: the process's own arguments) and give its exit code.

    0 nothing (left), 1 findings (left), 2 a usage error or something that could not be read
    or run, 130 interrupted. Never raises for what a user or a file can cause.
    """
    if argv is None:
        # Imports make thousands of objects and no garbage: 3 ms of 60 go into looking for some.
        gc.set_threshold(50_000)
    _prepare_streams()
    try:
        return _run(None if argv is None else list(argv))
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except Exception as error:
        return _explain(error)


def _prepare_streams() -> None:
    # Python leaves None where a stream was closed before the start (`>&-`).
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A name outside the terminal's encoding must not hide the finding that tells of it.
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _run(argv: list[str] | None) -> int:
    import click

    from pnnxfix.cli.app import app

    try:
        return int(app.main(argv, prog_name="pnnxfix", standalone_mode=False) or 0)
    except click.Abort:
        return _fail("interrupted", 130)
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        asked = context.command_path if context else "pnnxfix"
        return _fail(f"error: {error.format_message()} See `{asked} --help`.", 2)


def _explain(error: Exception) -> int:
    from pnnxfix.cli.run import OutputFailed
    from pnnxfix.errors import PnnxfixError

    kept = "nothing was changed"
    if isinstance(error, OutputFailed):
        kept, error = error.kept, error.cause
        if isinstance(error, PnnxfixError):
            return _fail(f"error: {error}, {kept}", 2)
    if isinstance(error, PnnxfixError):
        return _fail(f"error: {error}", 2)
    if os.environ.get("PNNXFIX_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    hint = "please report this, with what PNNXFIX_DEBUG=1 shows"
    return _fail(f"internal error: {type(error).__name__}: {error}, {kept}; {hint}", 2)


def _fail(message: str, code: int) -> int:
    from pnnxfix.cli.console import printable, write

    write(sys.stderr, f"pnnxfix: {printable(message)}\n")
    return code
