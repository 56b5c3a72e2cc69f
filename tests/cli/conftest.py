"""What the tests of the command line share: a place with real conversions, and the command itself."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from pnnxfix.cli.main import main

CHECKOUT = Path(__file__).parents[2]
CONVERSIONS = CHECKOUT / "fixtures" / "20261020"


class Outcome(NamedTuple):
    """What a user sees of one command."""

    code: int
    out: str
    err: str


class Place:
    """An empty working directory in which commands run."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self._capsys = capsys

    def put(self, case: str, folder: str = ".") -> Path:
        """Copy a real conversion here; gives its directory."""
        target = self.path / folder
        shutil.copytree(CONVERSIONS / case, target, dirs_exist_ok=True)
        return target

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, *argv: str) -> Outcome:
        self._capsys.readouterr()
        code = main(argv)
        return Outcome(code, *self._capsys.readouterr())

    def snapshot(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.path)): path.read_bytes() for path in self._files()}

    def _files(self) -> list[Path]:
        return sorted(path for path in self.path.rglob("*") if path.is_file())


@pytest.fixture
def environment() -> dict[str, str]:
    """What a child process needs to find this checkout, installed or not."""
    return {**os.environ, "PYTHONPATH": str(CHECKOUT)}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Place:
    for variable in ("NO_COLOR", "FORCE_COLOR", "PNNXFIX_DEBUG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, capsys)
