"""The JSON of `convert` against its schema. What the other tests here print is held against it, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pnnxfix.cli.convert_text import render_json
from pnnxfix.conversion.blame import Culprit
from pnnxfix.conversion.explain import Explanation
from pnnxfix.conversion.judge import Judged, Judgement
from pnnxfix.conversion.outcome import Attempt, ConvertReport
from pnnxfix.conversion.pnnx import Run
from pnnxfix.report import ConversionReport, Finding, Problem
from pnnxfix.rules.console import UnsupportedParameter
from tests.helpers.json_schema import validate

STEM = Path("a b%\udcff")
VERSIONS = {"pnnx": "20261020", "torch": "2.13.0", "ncnn": "unknown", "python": "3.11.7"}
LEFT = Finding(STEM, 3, 1, "PNX900", "unknown-layer", "no layer", "", refusal="no rule")
LINE = Explanation(STEM, 9, 600_000, UnsupportedParameter, "suspect", "said", "", "norm_0", ("a:1", "b:2"))


def make() -> dict[str, Any]:
    """Everything that a report can hold."""
    dead = Attempt("as given", Run(-11, 1.0), culprit=Culprit("aten::mul", "net.py:3", "5 runs"))
    forms = (Judgement("ncnn", "fails", "it died"), Judgement("python", "agrees", ""))
    repaired = ConversionReport(
        STEM, [LEFT], [LEFT._replace(refusal=None)], [], [Problem(STEM, "odd", "mend")]
    )
    kept = Attempt(
        "prepared", Run(None, 1.0), {"aten::log2": 2}, None, repaired,
        Judged(forms, 0.25, ("a note",), ("no reference",)), [LINE], (1.0, 2.0, 3.0),
    )  # fmt: skip
    report = ConvertReport(
        Path("m.pt"), STEM, VERSIONS, ["bad"], [dead, kept], kept, "prepared: why", [STEM], ["noted"]
    )
    text = render_json(report)
    assert text.isascii()
    document: dict[str, Any] = json.loads(text)
    return document


def test_whatever_is_printed_is_as_documented() -> None:
    document = make()
    validate(document, "convert.md")
    assert [one["died_of"] is None for one in document["attempts"]] == [False, True]
    assert document["attempts"][0]["pnnx"] == {"exit_code": -11, "ended": "SIGSEGV"}


def test_a_run_of_which_nothing_is_kept() -> None:
    dead = Attempt("as given", Run(-6, 1.0), culprit=Culprit(""))
    document = json.loads(render_json(ConvertReport(Path("m.pt"), STEM, VERSIONS, [], [dead])))
    validate(document, "convert.md")
    assert (document["kept"], document["findings"], document["works"]) == (None, [], False)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), 2),
        (("kept",), "both"),
        (("more",), 1),
        (("versions", "torch"), None),
        (("attempts",), []),
        (("attempts", 1, "rewritten", "log2"), 1),
        (("attempts", 0, "pnnx", "exit_code"), "died"),
        (("attempts", 1, "forms", 0, "state"), "fine"),
        (("attempts", 1, "seconds", "more"), 1.0),
        (("findings", 0, "line"), 0),
        (("console", 0, "verdict"), "odd"),
        (("console", 0, "places", 0), 7),
    ],
)
def test_the_schema_refuses_what_it_must(path: tuple[str | int, ...], value: object) -> None:
    document: Any = make()
    node = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        validate(document, "convert.md")
