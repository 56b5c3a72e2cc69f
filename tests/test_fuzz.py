"""A short fuzz run; `python tests/fuzz.py` is the long one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pnnxfix.pipeline import run as pipeline_run


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz", Path(__file__).with_name("fuzz.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


fuzz = _load()


def test_no_mutated_conversion_breaks_a_promise() -> None:
    outcomes = list(fuzz.run(300, seed=1))
    failed = {(o.index, o.fixture, *o.mutations): o.failures for o in outcomes if o.failures}
    assert not failed
    assert sum(outcome.repaired for outcome in outcomes) > 60
    assert sum(outcome.problems for outcome in outcomes) > 30


def test_ncnn_loads_what_is_repaired() -> None:
    pytest.importorskip("ncnn", reason="the real ncnn loads what was repaired")
    outcomes = list(fuzz.run(8, seed=2, load_check=True))
    assert not [outcome.failures for outcome in outcomes if outcome.failures]


def test_an_input_is_always_the_same() -> None:
    assert fuzz.make_input(1, 7) == fuzz.make_input(1, 7)
    assert fuzz.make_input(1, 7).files != fuzz.make_input(1, 8).files


@pytest.mark.parametrize("fault", ["exception", "extra-file", "changed-by-check"])
def test_a_broken_promise_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    real = pipeline_run.fix_paths if fault == "extra-file" else pipeline_run.check_paths

    def bent(paths: list[Path], options: object) -> object:
        if fault == "exception":
            raise KeyError(fault)
        report = real(paths, options)
        (paths[0] / ".left-behind").write_bytes(b"")
        return report

    monkeypatch.setattr(fuzz, "fix_paths" if fault == "extra-file" else "check_paths", bent)
    outcome = fuzz.make_input(1, 0)
    fuzz.examine(outcome, tmp_path, False)
    assert outcome.failures
