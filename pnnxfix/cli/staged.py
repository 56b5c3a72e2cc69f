"""`pnnxfix staged`: what the git hook runs."""

from __future__ import annotations

import os
import shlex
import sys

import click

from pnnxfix.cli.console import shown, write
from pnnxfix.cli.git import ask_git, list_staged, list_unstaged
from pnnxfix.cli.help import help_option


@click.command("staged", add_help_option=False)
@help_option
@click.option("--check", "check_only", is_flag=True, help="Report only; repair nothing.")
def command(check_only: bool) -> int:
    """Repair what is staged for commit (the git hook runs this).

    Exits with 1 after a repair, so that the commit stops until the repaired files are staged.
    """
    top = os.fsdecode(ask_git("rev-parse", "--show-toplevel")).removesuffix("\n")
    # git names paths from there, and so do the messages then.
    os.chdir(top)
    paths = list_staged()
    if not paths:
        return 0
    mixed = list_unstaged(paths)
    if mixed:
        write(sys.stderr, _explain_mixed(mixed))
        return 1
    from pnnxfix.cli.main import main

    # After `--`, since a name may begin with a dash.
    if check_only:
        return main(["check", "--", *paths])
    code = main(["fix", "--exit-non-zero-on-fix", "--", *paths])
    repaired = list_unstaged(paths)
    if repaired:
        write(sys.stderr, f"pnnxfix: repaired; look at it, stage it and commit again:\n  {_add(repaired)}\n")
    return code


def _explain_mixed(paths: list[str]) -> str:
    return (
        "pnnxfix: these files are staged in part: what would be committed is not what stands in the"
        " working tree, which is all that pnnxfix can check and repair:\n"
        + "".join(f"  {shown(path)}\n" for path in paths)
        + f"Stage them whole and commit again:\n  {_add(paths)}\n"
        "or put the rest aside first: git stash push --keep-index\n"
    )


def _add(paths: list[str]) -> str:
    names = [f":/{path}" for path in paths]  # from the top, wherever in it the user stands
    return f"git add -- {shlex.join(names)}"
