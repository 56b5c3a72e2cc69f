"""Which settings a run has: the command line over `[tool.pnnxfix]` over the defaults."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pnnxfix.errors import PnnxfixError
from pnnxfix.options import Options


def make_options(paths: tuple[Path, ...], config: Path | None, given: dict[str, Any]) -> Options:
    """The options of one run; `given` holds the fields that the command line sets.

    Globs with a slash count from the working directory, those of a configuration from its own.
    Raises PnnxfixError for a fault in the configuration, and for a code that no rule has.
    """
    from pnnxfix.cli.config import find_config, load_config

    source = config or find_config(paths[0])
    settings = load_config(source) if source else {}
    for field in ("select", "ignore"):
        if field in given:
            _check_codes(given[field], f"--{field}")
        elif field in settings:
            _check_codes(settings[field], f"{source}: {field}")
    home = os.path.dirname(os.path.abspath(source)) if source else ""
    if "per_file_ignores" in settings:
        ignores = settings["per_file_ignores"]
        for glob, codes in ignores.items():
            _check_codes(codes, f"{source}: per-file-ignores {glob!r}")
        settings["per_file_ignores"] = {
            form: codes for glob, codes in ignores.items() for form in _anchor(glob, home)
        }
    if "exclude" in settings:
        settings["exclude"] = tuple(form for glob in settings["exclude"] for form in _anchor(glob, home))
    if "exclude" in given:
        here = os.getcwd()
        given["exclude"] = tuple(form for glob in given["exclude"] for form in _anchor(glob, here))
    return Options(**{**settings, **given})


def _anchor(glob: str, home: str) -> tuple[str, ...]:
    """`glob` as it matches absolute paths, and paths from the working directory."""
    if "/" not in glob or os.path.isabs(glob):
        return (glob,)
    from glob import escape

    glob = glob.removeprefix("./").rstrip("/")
    return f"{escape(home)}/{glob}", os.path.normpath(f"{escape(os.path.relpath(home))}/{glob}")


def _check_codes(codes: Iterable[str], source: str) -> None:
    # A misspelt code would otherwise select nothing, and everything would look clean.
    from pnnxfix.rules.catalogue import entries

    known = [entry.code for entry in entries()]
    for code in codes:
        if not code or not any(name.startswith(code) for name in known):
            raise PnnxfixError(f"{source}: no rule's code starts with {code!r}; see `pnnxfix rule --all`")
