"""Ends a network before the operators that ncnn cannot compute, where that is asked for and possible."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pnnxfix.options import Options
from pnnxfix.pipeline.analyse import Analysis, analyse
from pnnxfix.pipeline.discovery import NCNN_PARAM, Conversion
from pnnxfix.pipeline.findings import Place, make_finding
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.pipeline.selection import Selection

if TYPE_CHECKING:
    from pnnxfix.rules.base import Refusal


def analyse_to_the_end(
    conversion: Conversion, options: Options, doubt: Refusal | None = None
) -> tuple[LoadedConversion, Analysis]:
    """The conversion and what is wrong with it; with `options.cut` the network may end earlier.

    `doubt` is why no operator may become ncnn's layers.

    Where it could, the first layer that stays says so. Cost: the analysis, and a second one where layers
    stay that ncnn does not have.
    """
    loaded = LoadedConversion(conversion, options.logs)
    analysis = analyse(loaded, options, doubt)
    if not analysis.stuck or loaded.pnnx is None or doubt is not None:
        return loaded, analysis
    from pnnxfix.pipeline.cut import Cut, apply_cut, find_cut
    from pnnxfix.pipeline.leaks import is_attendant
    from pnnxfix.rules.ending import InexpressibleEnd

    path = loaded.files[NCNN_PARAM]
    refused = {finding.line - 1 for finding in analysis.findings if finding.path == path and finding.refusal}
    if not refused.issuperset(analysis.stuck):
        return loaded, analysis  # a rule that is not selected might repair them
    ending = find_cut(LoadedConversion(conversion, options.logs), analysis.stuck)
    if not isinstance(ending, Cut) or not Selection(options).wants(InexpressibleEnd.code, path):
        return loaded, analysis
    shorter = LoadedConversion(conversion, options.logs)
    rest = analyse(shorter, options, without=frozenset(ending.rows))
    if any(not finding.fixable for finding in rest.findings if finding.path == path):
        return loaded, analysis
    names = apply_cut(shorter, ending)
    if not isinstance(names, tuple):
        return loaded, analysis
    assert shorter.ncnn is not None
    rows = [(at, shorter.ncnn.graph.original(at)) for at in analysis.stuck]
    first, row = next((pair for pair in rows if not is_attendant(pair[1])), rows[0])
    task = ending.describe(names)
    if not options.cut:
        _advise(analysis, path, first, task)
        return loaded, analysis
    count = len(ending.rows)
    rest.findings.append(
        make_finding(
            InexpressibleEnd,
            Place(path, first + 1),
            f"the network ends in what ncnn cannot compute, from `{row.type}` on",
            f"`pnnxfix fix --cut` takes {count} layer{'s' * (count > 1)} out; {task}",
            row.name,
        )
    )
    for name, blob in zip(names, ending.blobs, strict=True):
        rest.ends[name] = tuple(size for size in blob.shape if size != 1)
    rest.findings.sort(key=lambda one: one.position)
    shorter.notes.append(f"the ncnn network ends earlier now: {task}")
    return shorter, rest


def _advise(analysis: Analysis, path: Path, row: int, task: str) -> None:
    """Let what is found of a row tell where the network could end, too."""
    for at, finding in enumerate(analysis.findings):
        if finding.path == path and finding.line == row + 1 and not finding.fixable:
            advice = f"{finding.help}; or use `pnnxfix fix --cut`, {task}"
            analysis.findings[at] = finding._replace(help=advice)
            return
