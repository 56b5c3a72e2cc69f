"""JSON, SARIF and GitHub's commands, made of real findings and held against their definitions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from pnnxfix.cli.github import render_github
from pnnxfix.cli.json_output import render_json
from pnnxfix.cli.sarif import render_sarif
from pnnxfix.report import ConversionReport, Finding, Problem, Report
from tests.helpers.json_schema import strict, validate

if TYPE_CHECKING:
    from conftest import Place

CHECKOUT = Path(__file__).parents[2]
ODD = Report(
    conversions=[
        ConversionReport(
            Path("a b"),
            findings=[
                Finding(
                    Path("a b%,:\udcff.param"),
                    3,
                    1,
                    "PNX900",
                    "unknown-layer",
                    "50%\nof",
                    "h",
                    "",
                    "no: rule",
                )
            ],
        )
    ],
    problems=[Problem(Path("/nowhere/x"), "gone"), Problem(Path("y"), "odd", "mend it", 2, 0)],
)


@pytest.mark.parametrize(
    "argv",
    [
        pytest.param(("check", "."), id="findings"),
        pytest.param(("check", "clean"), id="clean"),
        pytest.param(("check", "broken", "nowhere"), id="problems"),
        pytest.param(("fix", "."), id="fixed"),
    ],
)
def test_json_is_as_documented(place: Place, argv: tuple[str, ...]) -> None:
    place.put("normalize", "clean")
    place.put("beside-leaked-operator", "mixed")
    place.write("broken/model.ncnn.param", "no param\n")
    outcome = place.run(*argv, "--output-format", "json")
    document = json.loads(outcome.out)
    validate(document, "output.md")
    assert document["exit_code"] == outcome.code
    assert document["command"] == argv[0]


def test_json_holds_what_text_shows(place: Place) -> None:
    place.put("beside-leaked-operator")
    found = json.loads(place.run("check", "--output-format", "json", ".").out)["findings"]
    lines = [f"{f['path']}:{f['line']}:{f['column']}: {f['code']} {f['name']}" for f in found]
    text = place.run("check", "--output-format", "concise", ".").out.splitlines()
    assert len(lines) == len(text) > 1
    assert all(shown.startswith(line) for line, shown in zip(lines, text, strict=True))
    assert [" [*] " in shown for shown in text] == [f["fixable"] for f in found]
    fixed = json.loads(place.run("fix", "--output-format", "json", ".").out)
    assert fixed["fixed"] == [f for f in found if f["fixable"]]
    assert {f["code"] for f in fixed["findings"]} == {"PNX900"}
    assert "model.ncnn.param" in fixed["conversions"][0]["changed"]


def test_json_of_odd_names() -> None:
    text = render_json("check", ODD, False, 2)
    assert text.isascii()
    document = json.loads(text)
    validate(document, "output.md")
    assert document["findings"][0]["path"] == "a b%,:\udcff.param"
    assert [problem["line"] for problem in document["problems"]] == [None, 2]


def test_the_schema_refuses_what_it_must() -> None:
    document = json.loads(render_json("check", ODD, False, 2))
    document["findings"][0]["line"] = 0
    with pytest.raises(jsonschema.ValidationError):
        validate(document, "output.md")


# The part of SARIF 2.1.0 (sections 3.13 to 3.58) that is written here, with its required fields.
MESSAGE = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
LOCATION = {
    "type": "object",
    "required": ["physicalLocation"],
    "properties": {
        "physicalLocation": {
            "type": "object",
            "required": ["artifactLocation"],
            "properties": {
                "artifactLocation": {
                    "type": "object",
                    "required": ["uri"],
                    "properties": {
                        "uri": {"type": "string", "pattern": r"^(file://)?([A-Za-z0-9_.~/-]|%[0-9A-F]{2})+$"},
                        "uriBaseId": {"const": "SRCROOT"},
                    },
                },
                "region": {
                    "type": "object",
                    "required": ["startLine"],
                    "properties": {
                        "startLine": {"type": "integer", "minimum": 1},
                        "startColumn": {"type": "integer", "minimum": 1},
                    },
                },
            },
        }
    },
}
SARIF = {
    "type": "object",
    "required": ["$schema", "version", "runs"],
    "properties": {
        "$schema": {"type": "string"},
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tool", "results"],
                "properties": {
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name"],
                                "properties": {
                                    "name": {"type": "string"},
                                    "version": {"type": "string"},
                                    "rules": {
                                        "type": "array",
                                        "uniqueItems": True,
                                        "items": {
                                            "type": "object",
                                            "required": ["id"],
                                            "properties": {
                                                "id": {"type": "string"},
                                                "name": {"type": "string"},
                                                "shortDescription": MESSAGE,
                                                "fullDescription": MESSAGE,
                                                "help": MESSAGE,
                                            },
                                        },
                                    },
                                },
                            }
                        },
                    },
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "originalUriBaseIds": {
                        "type": "object",
                        "required": ["SRCROOT"],
                        "properties": {
                            "SRCROOT": {
                                "type": "object",
                                "properties": {"uri": {"type": "string", "pattern": "^file:///(.*/)?$"}},
                            }
                        },
                    },
                    "invocations": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["executionSuccessful"],
                            "properties": {
                                "executionSuccessful": {"type": "boolean"},
                                "exitCode": {"type": "integer"},
                                "toolExecutionNotifications": {
                                    "type": "array",
                                    "items": {
                                        "type": "object",
                                        "required": ["message"],
                                        "properties": {
                                            "level": {"enum": ["none", "note", "warning", "error"]},
                                            "message": MESSAGE,
                                            "locations": {"type": "array", "items": LOCATION},
                                        },
                                    },
                                },
                            },
                        },
                    },
                    "results": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["message", "ruleId"],
                            "properties": {
                                "ruleId": {"type": "string"},
                                "ruleIndex": {"type": "integer", "minimum": 0},
                                "level": {"enum": ["none", "note", "warning", "error"]},
                                "message": MESSAGE,
                                "locations": {"type": "array", "items": LOCATION},
                                "properties": {
                                    "type": "object",
                                    "properties": {
                                        "operator": {"type": "string"},
                                        "fixable": {"type": "boolean"},
                                        "help": {"type": "string"},
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}


def check_sarif(text: str) -> dict[str, Any]:
    document = json.loads(text)
    jsonschema.Draft202012Validator(strict(SARIF)).validate(document)
    run: dict[str, Any] = document["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    return run


def test_sarif_of_real_findings(place: Place) -> None:
    place.put("beside-leaked-operator", "mixed")
    outcome = place.run("check", "--output-format", "sarif", ".")
    run = check_sarif(outcome.out)
    text = place.run("check", "--output-format", "concise", ".").out.splitlines()
    assert len(run["results"]) == len(text)
    assert run["invocations"][0]["exitCode"] == outcome.code == 1
    assert run["invocations"][0]["executionSuccessful"]
    assert all(rule["shortDescription"] and rule["help"] for rule in run["tool"]["driver"]["rules"])
    refused = next(r for r in run["results"] if r["ruleId"] == "PNX900")
    assert "; not repaired: " in refused["message"]["text"]


def test_sarif_of_odd_names_and_problems() -> None:
    run = check_sarif(render_sarif(ODD, 2))
    assert not run["invocations"][0]["executionSuccessful"]
    gone, odd = run["invocations"][0]["toolExecutionNotifications"]
    assert gone["locations"][0]["physicalLocation"] == {"artifactLocation": {"uri": "file:///nowhere/x"}}
    assert odd["locations"][0]["physicalLocation"]["region"] == {"startLine": 2, "startColumn": 1}
    uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == "a%20b%25%2C%3A%FF.param"


@pytest.mark.parametrize("folder", [".", "/"])
def test_sarif_of_nothing(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.chdir(folder)
    assert check_sarif(render_sarif(Report(), 0))["results"] == []


def test_github_commands_are_escaped() -> None:
    assert render_github(ODD).splitlines() == [
        "::error file=a b%25%2C%3A\\udcff.param,line=3,col=1,title=PNX900 unknown-layer"
        "::50%25%0Aof%0Anot repaired: no: rule%0Ah",
        "::error file=/nowhere/x,title=pnnxfix::gone",
        "::error file=y,line=2,col=0,title=pnnxfix::odd%0Amend it",
    ]


def test_github_commands_of_real_findings(place: Place) -> None:
    place.put("clamp-min-tenth")
    out = place.run("check", "--output-format", "github", ".").out.splitlines()
    assert len(out) == 4
    assert all(line.startswith("::error file=model") for line in out)
