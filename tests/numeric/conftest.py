"""The runtimes that repaired conversions are run in, each started once."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.child import Child
from tests.helpers.comparison import Arrays, load_outputs

Run = Callable[[Path, str], Arrays]
"""Runs the conversion in a folder, by its stem, on its stored input."""


def make_runner(child: Child, result: Path) -> Run:
    def run(folder: Path, stem: str) -> Arrays:
        result.unlink(missing_ok=True)
        child.ask({"folder": str(folder), "stem": stem, "result": str(result)})
        return load_outputs(result)

    return run


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the repaired copies lie that tests share."""
    return tmp_path_factory.getbasetemp() / "repaired"


@pytest.fixture(scope="session")
def run_ncnn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    child = Child("run_ncnn.py")
    yield make_runner(child, tmp_path_factory.mktemp("ncnn") / "outputs.npz")
    child.close()


@pytest.fixture(scope="session")
def run_torch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed; it runs the repaired _pnnx.py")
    child = Child("run_torch.py")
    yield make_runner(child, tmp_path_factory.mktemp("torch") / "outputs.npz")
    child.close()
