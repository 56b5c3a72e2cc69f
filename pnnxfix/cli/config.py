"""`[tool.pnnxfix]` in `pyproject.toml`: where it is, what it may hold, and what is wrong with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pnnxfix.errors import PnnxfixError

_FILE = "pyproject.toml"
_TABLE = "tool.pnnxfix"
_STYLES = ("operator", "clamp")


def find_config(start: Path) -> Path | None:
    """The nearest `pyproject.toml` at or above `start` that has a table `[tool.pnnxfix]`."""
    folder = os.path.abspath(start)
    if not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    while True:
        path = os.path.join(folder, _FILE)
        # Reading TOML costs a large part of a clean check, so it has to be worth it.
        if os.path.isfile(path) and _TABLE.encode() in _read(path):
            return Path(path)
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def load_config(path: Path) -> dict[str, Any]:
    """The settings in `path`, by the names of the fields of `Options`; only those that are set.

    Raises PnnxfixError for a file that is no TOML or has no such table, and for unknown keys
    and wrong types.
    """
    table = _parse(path)
    for name in ("tool", "pnnxfix"):
        table = table.get(name, {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict) or not table:
        raise PnnxfixError(f"{path}: holds no table [{_TABLE}]")
    settings = {}
    for key, value in table.items():
        if key not in _READERS:
            raise PnnxfixError(f"{path}: [{_TABLE}] has no key {key!r}{_nearest(key)}")
        try:
            field, read = _READERS[key]
            settings[field] = read(value)
        except TypeError as error:
            raise PnnxfixError(f"{path}: [{_TABLE}] {key}: {error}") from None
    return settings


def _read(path: str | Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise PnnxfixError(f"{path}: cannot be read: {error.strerror}") from None


def _parse(path: Path) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(_read(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PnnxfixError(f"{path}: is not valid TOML: {error}") from None
    except RecursionError:
        raise PnnxfixError(f"{path}: is nested too deeply") from None


def _nearest(key: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(key.lower().replace("_", "-"), _READERS, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; the keys are {_listed(_READERS)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"must be a list of strings, not {value!r}")
    return tuple(value)


def _names(value: object) -> frozenset[str]:
    return frozenset(_strings(value))


def _globs(value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise TypeError(f"must be a table of globs and lists of codes, not {value!r}")
    return {glob: _strings(codes) for glob, codes in value.items()}


def _style(value: object) -> object:
    if value not in _STYLES:
        raise TypeError(f"must be one of {_listed(_STYLES)}, not {value!r}")
    return value


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"must be true or false, not {value!r}")
    return value


_READERS: dict[str, tuple[str, Callable[[object], Any]]] = {
    "select": ("select", _strings),
    "ignore": ("ignore", _strings),
    "per-file-ignores": ("per_file_ignores", _globs),
    "custom-layers": ("custom_layers", _names),
    "exclude": ("exclude", _strings),
    "style": ("style", _style),
    "fuse": ("fuse", _bool),
    "load-check": ("load_check", _bool),
}
