"""The command that measures how many models work: its choice of models, its table."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the judge that the script imports runs PyTorch")

from scripts import convert_table
from scripts.convert_table import Converted, Way


def test_a_sample_is_spread_evenly_over_the_corpus(tmp_path: Path) -> None:
    for number in range(100):
        folder = tmp_path / f"{number:03}"
        folder.mkdir()
        (folder / "case.json").write_text('{"skipped": ""}')
        (folder / "done").touch()
    options = argparse.Namespace(models=None, corpus=tmp_path, only="", sample=10, jobs=1)
    cases, total = convert_table._find_cases(options)
    assert total == 100
    assert [case.name for case in cases] == [f"{number:03}" for number in range(0, 100, 10)]


def test_the_table_says_what_was_measured() -> None:
    runs = {"a": Converted(5.0, 0, "prepared"), "b": Converted(7.0, 1, "as given")}
    table = convert_table._write_table([Way("pnnx alone", 1, 0.5)], 2, 2, 9, runs)
    assert table.startswith("2 of 9 models, evenly chosen; 2 have numbers that can be compared.")
    assert "| pnnx alone | 1 of 2 | 0.5 s |" in table
    assert "of 1 that they work, and kept the prepared form of 1." in table


@pytest.mark.parametrize("name", ["convert", "convert-models"])
def test_the_page_has_a_place_for_it(name: str) -> None:
    page = convert_table.DOCUMENT.read_text()
    assert re.search(convert_table._BLOCK.format(name), page, re.DOTALL) is not None
