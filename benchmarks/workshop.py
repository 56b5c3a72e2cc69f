"""Where a benchmark works: its folders, the commands it times, the scale of the run."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from measure import ROOT, Contender

FIXTURES = ROOT / "fixtures"
RELEASE = "20261020"
PROGRAMS = Path(__file__).with_name("programs")
# What the installed command runs, for a checkout that is not installed.
_UNINSTALLED = "from pnnxfix.cli.main import run; run()"


@dataclass(frozen=True, slots=True)
class Workshop:
    """A temporary folder and how much is measured: `quick` proves the programs, not the figures."""

    home: Path
    quick: bool

    def rounds(self, full: int) -> int:
        return 1 if self.quick else full

    def scale(self, full: int) -> int:
        return full // 100 if self.quick else full

    def folder(self, name: str) -> Path:
        path = self.home / name
        path.mkdir(parents=True)
        return path

    def fix(self, source: Path, *options: str) -> Contender:
        """`pnnxfix fix` on a fresh copy of a folder, which each run gets."""
        copy = self.home / f"{source.name}-fixed"

        def renew() -> None:
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(source, copy)
            os.sync()  # else the tool's own wait for the disk would be for this copy

        command = [*pnnxfix("fix"), "--quiet", *options, str(copy)]
        return Contender(command, renew, codes=frozenset({0, 1}))


def pnnxfix(*arguments: str) -> list[str]:
    """The installed command if there is one, else the same from this checkout."""
    installed = Path(sys.executable).with_name("pnnxfix")
    start = [str(installed)] if installed.exists() else [sys.executable, "-c", _UNINSTALLED]
    return [*start, *arguments]


def program(name: str, *arguments: str | Path, inner: bool = False) -> Contender:
    """One of the programs beside this file."""
    command = [sys.executable, str(PROGRAMS / f"{name}.py"), *map(str, arguments)]
    return Contender(command, inner=inner)


def imports(names: str) -> Contender:
    """A process that imports and does nothing."""
    return Contender([sys.executable, "-c", f"import {names}"])
