"""The few questions that the hook asks git."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from pnnxfix.errors import PnnxfixError

PATTERNS = ("*.ncnn.param", "*.pnnx.param", "*_pnnx.py", "*_ncnn.py")


def ask_git(*arguments: str) -> bytes:
    """What `git` prints. Raises PnnxfixError where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise PnnxfixError("git is not installed, or not on the PATH") from None
    if done.returncode:
        reason = os.fsdecode(done.stderr).strip().removeprefix("fatal: ")
        raise PnnxfixError(f"git {arguments[0]}: {reason}")
    return done.stdout


def list_staged() -> list[str]:
    """The files of conversions that are staged for commit, from the top of the working tree."""
    return _names("diff", "--cached", "--diff-filter=d", *_LISTING, "--", *PATTERNS)


def list_unstaged(paths: Sequence[str]) -> list[str]:
    """Those of `paths` whose content in the working tree is not what is staged."""
    changed = set(_names("diff", *_LISTING, "--", *PATTERNS))
    return [path for path in paths if path in changed]


_LISTING = ("--name-only", "--no-ext-diff", "--no-renames", "-z")


def _names(*arguments: str) -> list[str]:
    # NUL, since a name may hold anything else; relative to the top, where hooks run.
    return [os.fsdecode(name) for name in ask_git(*arguments).split(b"\0") if name]
