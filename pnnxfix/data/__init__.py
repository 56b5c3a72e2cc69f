"""Facts about ncnn that were measured once and are kept as files beside this one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from os.path import dirname, join
from types import MappingProxyType

__all__ = ["known_layers"]


@cache
def known_layers() -> Mapping[str, str]:
    """The layer types that ncnn's wheels can create, each with the first release tried that has it.

    `{"Clip": "20240102", ...}`; the date is the release without its leading `1.0.`.
    Source: `ncnn_layers.txt`, written by `scripts/make_layers.py` from installed wheels.
    """
    with open(join(dirname(__file__), "ncnn_layers.txt"), encoding="ascii") as file:
        rows = (line.split() for line in file if not line.startswith("#"))
        return MappingProxyType(dict(rows))
