"""Makes findings: a rule, a place in a file, and the words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pnnxfix.pipeline.discovery import NCNN_PARAM, PNNX_PARAM, PNNX_PY
from pnnxfix.report import Finding

if TYPE_CHECKING:
    from pnnxfix.pipeline.leaks import Leak
    from pnnxfix.pipeline.loaded import LoadedConversion
    from pnnxfix.rules.base import Rule


class Place(NamedTuple):
    """A word of a file; `line` and `column` count from 1."""

    path: Path
    line: int
    column: int = 1


def make_finding(
    rule: type[Rule],
    place: Place,
    message: str,
    help_text: str,
    operator: str = "",
    refusal: str | None = None,
) -> Finding:
    """A finding of a rule at a place; `refusal` is why `fix` leaves it alone, None if it does not."""
    return Finding(
        place.path, place.line, place.column, rule.code, rule.name, message, help_text, operator, refusal
    )


def find_places(loaded: LoadedConversion, leak: Leak) -> dict[str, Place]:
    """Where a leak stands in each file that has it, by flavour: python, ncnn, pnnx."""
    found: dict[str, Place] = {}
    if leak.python is not None and loaded.python is not None:
        found["python"] = Place(loaded.files[PNNX_PY], leak.python.line + 1, leak.python.column)
    if leak.ncnn is not None and loaded.ncnn is not None:
        found["ncnn"] = Place(loaded.files[NCNN_PARAM], leak.ncnn + 1)
    if leak.pnnx is not None and loaded.pnnx is not None:
        found["pnnx"] = Place(loaded.files[PNNX_PARAM], leak.pnnx + 1)
    return found
