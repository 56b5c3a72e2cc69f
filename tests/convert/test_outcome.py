"""Which way is kept, what the exit code says, and which releases are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from pnnxfix.conversion.blame import Culprit
from pnnxfix.conversion.convert import choose
from pnnxfix.conversion.judge import Judged, Judgement, State
from pnnxfix.conversion.outcome import Attempt, ConvertReport, Way
from pnnxfix.conversion.pnnx import Run
from pnnxfix.conversion.versions import find_known_bad
from pnnxfix.report import ConversionReport, Finding

LEFT = Finding(Path("a"), 1, 1, "PNX900", "unknown-layer", "m", "h", refusal="r")


def make(way: Way, state: State, milliseconds: float = 0.0, findings: int = 0) -> Attempt:
    judged = Judged((Judgement("ncnn", state, ""),), milliseconds)
    return Attempt(way, Run(0, 1.0), report=ConversionReport(Path("m"), [LEFT] * findings), judged=judged)


DEAD = Attempt("as given", Run(-11, 1.0), culprit=Culprit("aten::mul"))
PREPARED = make("prepared", "agrees", 1.0)

CHOICES = {
    "only-the-first-agrees": (make("as given", "agrees", 9.0), make("prepared", "differs"), "as given"),
    "only-the-second-agrees": (make("as given", "differs"), PREPARED, "prepared"),
    "the-second-is-faster": (make("as given", "agrees", 2.0), PREPARED, "prepared"),
    "as-fast": (make("as given", "agrees", 1.02), PREPARED, "as given"),
    "the-second-was-not-measured": (make("as given", "agrees", 2.0), make("prepared", "agrees"), "as given"),
    "the-first-died": (DEAD, make("prepared", "differs"), "prepared"),
    "fewer-findings": (
        make("as given", "fails", findings=2), make("prepared", "fails", findings=1), "prepared"),
    "neither": (make("as given", "fails"), make("prepared", "fails"), "as given"),
}  # fmt: skip


@pytest.mark.parametrize(("first", "second", "kept"), CHOICES.values(), ids=CHOICES)
def test_the_better_way(first: Attempt, second: Attempt, kept: str) -> None:
    chosen, reason = choose([first, second])
    assert chosen.way == kept
    assert reason.startswith(f"{kept}: ")


CODES = {
    "agrees": (make("as given", "agrees", 1.0), 0),
    "differs": (make("as given", "differs"), 1),
    "does-not-load": (make("as given", "fails", findings=1), 1),
    "not-compared": (make("as given", "unknown"), 2),
    "died": (None, 1),
}


@pytest.mark.parametrize(("kept", "code"), CODES.values(), ids=CODES)
def test_exit_codes(kept: Attempt | None, code: int) -> None:
    report = ConvertReport(Path("m.pt"), Path("m"), {}, [], [kept or DEAD], kept)
    assert report.exit_code == code


@pytest.mark.parametrize(
    ("pnnx", "ncnn", "words"),
    [
        ("20261020", "1.0.20261020", []),
        ("20260409", "1.0.20260526", []),
        ("20250430", "1.0.20261020", ["six decimals"]),
        ("20261020", "1.0.20260526", ["batch axis"]),
        ("20261020", "1.0.20240820", ["shape expressions", "kills its process"]),
        ("unknown", "unknown", []),
    ],
)
def test_known_bad_releases_are_named(pnnx: str, ncnn: str, words: list[str]) -> None:
    found = find_known_bad({"pnnx": pnnx, "ncnn": ncnn})
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found, strict=True))
