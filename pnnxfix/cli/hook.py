"""`pnnxfix install-hook`: a pre-commit hook for those who use plain git."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import click

from pnnxfix.cli.console import printable, write
from pnnxfix.cli.git import PATTERNS, ask_git
from pnnxfix.cli.help import help_option
from pnnxfix.errors import PnnxfixError

_MARK = "# Written by `pnnxfix install-hook`; run that again to renew it, delete this file to undo it."


@click.command("install-hook", add_help_option=False)
@help_option
@click.option("--check", "check_only", is_flag=True, help="A hook that reports only and repairs nothing.")
def command(check_only: bool) -> int:
    """Let git run pnnxfix on what is staged, before each commit.

    Writes the pre-commit hook of the repository that the working directory is in, where git
    looks for it (core.hooksPath and worktrees included). A hook of other origin stays as it is.
    """
    folder = Path(os.fsdecode(ask_git("rev-parse", "--git-path", "hooks")).removesuffix("\n"))
    path = folder / "pre-commit"
    script = _write_script(check_only)
    try:
        old = path.read_bytes() if os.path.lexists(path) else None
        if old is not None and _MARK.encode() not in old:
            raise PnnxfixError(_explain_foreign(path, check_only))
        if old == script and os.access(path, os.X_OK):
            write(sys.stdout, f"{printable(str(path))}: already installed\n")
            return 0
        _replace(path, script)
    except OSError as error:
        raise PnnxfixError(f"{path}: {error.strerror}") from None
    write(sys.stdout, f"{printable(str(path))}: {'renewed' if old is not None else 'installed'}\n")
    return 0


def _replace(path: Path, script: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Through a rename: git may start the hook at any moment.
    new = path.with_name("pre-commit.pnnxfix-new")
    new.write_bytes(script)
    new.chmod(0o755)
    new.replace(path)


def _write_script(check_only: bool) -> bytes:
    patterns = " ".join(f"'{pattern}'" for pattern in PATTERNS)
    return f"""#!/bin/sh
{_MARK}
git diff --cached --quiet --diff-filter=d -- {patterns} && exit 0
exec {_command(check_only)}
""".encode(errors="surrogateescape")


def _command(check_only: bool) -> str:
    words = [*_find_program(), "staged"]
    return shlex.join([*words, "--check"] if check_only else words)


def _find_program() -> list[str]:
    # `python -m` would import from the working directory, that is, from the repository.
    script = Path(sys.executable).with_name("pnnxfix.exe" if os.name == "nt" else "pnnxfix")
    if script.is_file():
        return [script.as_posix()]
    return ["env", "PYTHONSAFEPATH=1", Path(sys.executable).as_posix(), "-m", "pnnxfix"]


def _explain_foreign(path: Path, check_only: bool) -> str:
    if b"pre-commit.com" in path.read_bytes():
        return (
            f"{path}: this hook belongs to the tool pre-commit and stays as it is;"
            f" add pnnxfix to .pre-commit-config.yaml instead"
        )
    return (
        f"{path}: there is a hook of other origin, which stays as it is;"
        f" add this line to it: {_command(check_only)} || exit 1"
    )
