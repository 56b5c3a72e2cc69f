"""Releases of pnnx and ncnn that do not go together, or that lose something."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Mapping
from dataclasses import dataclass

_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Bad:
    """A range of releases (both ends belong to it, "" is open) and what is wrong with it."""

    pnnx: tuple[str, str]
    ncnn: tuple[str, str]
    message: str


KNOWN_BAD = (
    Bad(
        ("20250430", "20250430"), ("", ""),
        "pnnx 20250430 writes constants with six decimals: 1e-7 becomes 0; use another release",
    ),
    Bad(
        ("20261020", ""), ("", "1.0.20250502"),
        "pnnx from 20261020 writes shape expressions that ncnn reads from 1.0.20250503 on",
    ),
    Bad(
        ("20261020", ""), ("1.0.20250503", "1.0.20260526"),
        "pnnx from 20261020 writes the batch axis into Reshape, which ncnn reads from 1.0.20261020 on",
    ),
    Bad(
        ("", ""), ("", "1.0.20250916"),
        "ncnn up to 1.0.20250916 kills its process on a .param that it does not load",
    ),
)  # fmt: skip
"""Source: conversions by these releases of pnnx, run in the releases of ncnn from 1.0.20240102 on."""


def read_version(package: str) -> str:
    """The release of an installed package, `unknown` where it is none; nothing is imported."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return _UNKNOWN


def find_versions(pnnx: str = "") -> dict[str, str]:
    """The releases that take part, by package; `pnnx` is that of pnnx where it runs."""
    packages = {name: read_version(name) for name in ("torch", "ncnn")}
    python = ".".join(str(part) for part in sys.version_info[:3])
    return {**({"pnnx": pnnx} if pnnx else {}), **packages, "python": python}


def find_known_bad(versions: Mapping[str, str]) -> list[str]:
    """What is known against this combination. Releases are dates, so their text orders them."""
    return [
        bad.message
        for bad in KNOWN_BAD
        if _is_within(versions.get("pnnx", _UNKNOWN), bad.pnnx)
        and _is_within(versions.get("ncnn", _UNKNOWN), bad.ncnn)
    ]


def _is_within(release: str, span: tuple[str, str]) -> bool:
    first, last = span
    if not first and not last:
        return True
    return release != _UNKNOWN and (not first or release >= first) and (not last or release <= last)
