"""The settings of one run, as the command line, `pyproject.toml` or a caller gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

Style = Literal["operator", "clamp"]

_NONE: Mapping[str, Any] = MappingProxyType({})


class Options(NamedTuple):
    """Settings of one run.

    `select` and `ignore` are codes or prefixes of codes (`PNX1`); an empty `select` means all.
    `custom_layers` are layer types that the user's own program registers with ncnn.
    `values` gives constants by blob or operand name, in the user's spelling.
    `load_check` None lets the size of the graph decide whether ncnn is asked to load it.
    `cut` lets a network end before what ncnn cannot compute.
    `progress` is called with each conversion's position, their number and its stem.
    `before_commit` is called with a conversion's stem, its files by role, and where the new content of some
    of them can be read; it raises PnnxfixError to keep the repair from being written.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    per_file_ignores: Mapping[str, tuple[str, ...]] = _NONE
    custom_layers: frozenset[str] = frozenset()
    exclude: tuple[str, ...] = ()
    values: Mapping[str, str] = _NONE
    logs: tuple[Path, ...] = ()
    style: Style = "operator"
    fuse: bool = True
    load_check: bool | None = None
    cut: bool = False
    dry_run: bool = False
    progress: Callable[[int, int, Path], None] | None = None
    before_commit: Callable[[Path, Mapping[str, Path], Mapping[Path, Path]], None] | None = None
