"""The JSON of `verify` against its schema. What the other tests here print is held against it, too."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pnnxfix.cli.verdict import render_json
from pnnxfix.report import Problem
from pnnxfix.verify.outcome import Divergence, FormReport, Measure, Place, Step, Verdict
from tests.helpers.json_schema import validate

VERSIONS = {"torch": "2.13.0", "ncnn": "1.0.20250916", "python": "3.11.7"}


def make() -> dict[str, Any]:
    """Everything that a report can hold, numbers that JSON has not among it."""
    place = Place(Path("a b%\udcff.param"), 3, "ReLU r 1 1 a b")
    steps = (Step("v_1 relu", "r ReLU", None), Step("v_2 add", "add BinaryOp", math.inf, True))
    divergence = Divergence("ncnn", "add", "BinaryOp", (place,), 0.0, math.nan, ("a cause",), steps)
    worst = ((0, 1), 1.0, -math.inf)
    measures = [
        Measure("out0", "x", 0.1, math.inf, 1.0, 1.0, 1.0, 0.0, ((1, 4), (1, 4)), ((0, 1), (2, 3)), worst, 1),
        Measure("out1", "x", 0.1, math.inf, 1.0, 1.0, 1.0, 0.0, (None, (1, 4))),
    ]
    forms = [
        FormReport("python", Path("m_pnnx.py"), reason="it died"),
        FormReport("ncnn", Path("m.ncnn.param"), "disagrees", "ncnn 1", "", ("said",), "fp16", measures),
    ]
    forms[1].divergence = divergence
    problem = Problem(Path("m"), "odd", "mend it", 2, 1)
    verdict = Verdict(Path("m"), "torchscript", Path("m.pt"), forms, [problem], ["a note"])
    text = render_json([verdict], [Problem(Path("x"), "gone")], 2, VERSIONS)
    assert text.isascii()
    document: dict[str, Any] = json.loads(text)
    return document


def test_whatever_is_printed_is_as_documented() -> None:
    document = make()
    validate(document, "verify.md")
    assert document["versions"] == VERSIONS
    assert ["kills its process" in text for text in document["known_bad"]] == [True]
    form = document["conversions"][0]["forms"][1]
    assert form["divergence"]["error_out"] == "nan"
    assert [step["error"] for step in form["divergence"]["steps"]] == [None, "inf"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), 2),
        (("versions", "pnnx"), "20261020"),
        (("conversions", 0, "forms", 0, "state"), "fine"),
        (("conversions", 0, "forms", 1, "measures", 0, "needed"), "much"),
        (("conversions", 0, "forms", 1, "measures", 0, "worst", "more"), 1),
        (("conversions", 0, "forms", 1, "divergence", "places", 0, "line"), 0),
        (("problems", 0, "message"), ""),
    ],
)
def test_the_schema_refuses_what_it_must(path: tuple[str | int, ...], value: object) -> None:
    document: Any = make()
    node = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        validate(document, "verify.md")
