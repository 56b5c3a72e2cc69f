"""`fix --verify`: lets a repair be written only if the repaired files agree with the reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pnnxfix.codecs.param import parse_param
from pnnxfix.errors import PnnxfixError
from pnnxfix.graph.graph import Graph
from pnnxfix.pipeline.discovery import NCNN_PARAM, PNNX_PARAM, Conversion
from pnnxfix.verify.neighbourhood import Comparison, look_around
from pnnxfix.verify.outcome import FormReport, Verdict
from pnnxfix.verify.run import verify_conversion
from pnnxfix.verify.settings import Settings


class Gate:
    """Asked before each repair is written, with its new files; `verdicts` are what it has found."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.verdicts: list[Verdict] = []

    def __call__(self, stem: Path, files: Mapping[str, Path], staged: Mapping[Path, Path]) -> None:
        """Verify the new files, and those that stay as they are. Raises PnnxfixError to refuse."""
        verdict = verify_conversion(Conversion(stem, dict(files)), self._settings, staged)
        for role in (PNNX_PARAM, NCNN_PARAM):
            path = files.get(role)
            if path is not None and path in staged:
                verdict.drawings.append(_compare(path, staged[path]))
        self.verdicts.append(verdict)
        if verdict.exit_code:
            raise PnnxfixError(f"the repair was not verified: {_explain(verdict)}")


def _explain(verdict: Verdict) -> str:
    if verdict.problems:
        return "; ".join(problem.message for problem in verdict.problems)
    return "; ".join(_disagreement(form) for form in verdict.forms if form.state == "disagrees")


def _disagreement(form: FormReport) -> str:
    worst = form.worst
    text = f"the repaired {form.path.name} disagrees with the reference"
    if worst is not None:
        text += f", it needs tolerance {worst.needed:.3g} and has {worst.tolerance:.3g}"
    if form.divergence is not None:
        text += f"; the first wrong operator is {form.divergence.operator} ({form.divergence.kind})"
    return text


def _compare(before: Path, after: Path) -> Comparison:
    """The neighbourhood of all rows that the repair has changed, before and after."""
    graphs = []
    for path in (before, after):
        file = parse_param(path.read_bytes(), str(before))
        graphs.append(Graph(file.lines, file.first_row))
    texts = [{graph.original(handle): handle for handle in graph} for graph in graphs]
    views = []
    for at, title in enumerate(("before", "after")):
        changed = [handle for row, handle in texts[at].items() if row not in texts[1 - at]]
        views.append(look_around(graphs[at], changed, f"{before.name}, {title}", radius=1))
    return Comparison(f"What the repair changes in {before.name}", tuple(views))
