"""Fills a corpus: traces each operator and gives it to a pnnx release. What is there already stays."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from scripts.coverage.corpus import Case, Record
from scripts.coverage.isolate import Died, run_isolated
from scripts.coverage.operators import Unusable, load_operators, save_sample

BUILD = Path(__file__).resolve().parents[2] / "build"
PNNX_SECONDS = 60
CASE_SECONDS = 3 * PNNX_SECONDS


@dataclass(frozen=True, slots=True)
class Pnnx:
    """A release of pnnx, and its native program, which needs no PyTorch."""

    release: str
    program: Path


def find_pnnx(release: str = "") -> Pnnx:
    """The given release, or else the one that is installed here.

    Releases lie in `build/pnnx/<release>`, or in the folder that PNNXFIX_PNNX_CACHE names; one that is in
    neither comes from PyPI.
    """
    spec = importlib.util.find_spec("pnnx")
    if spec is not None and spec.submodule_search_locations:
        installed = importlib.metadata.version("pnnx")
        if release in ("", installed):
            return Pnnx(installed, Path(spec.submodule_search_locations[0]) / "pnnx")
    cache = Path(os.environ.get("PNNXFIX_PNNX_CACHE", BUILD / "pnnx"))
    if not release:
        raise SystemExit("pnnx is not installed: pip install pnnx, or name a release with --pnnx")
    program = cache / release / "pnnx" / "pnnx"
    if not program.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        subprocess.run([*pip, str(cache / release), f"pnnx=={release}"], check=True)
    return Pnnx(release, program)


def fill_corpus(
    corpus: Path, pnnx: Pnnx, only: str, jobs: int, progress: Callable[[str, int, int], None]
) -> None:
    """Convert every operator whose name matches and that has no finished folder yet."""
    operators = load_operators(only)
    missing = {name: entry for name, entry in operators.items() if not Case(corpus / name).is_done}
    for name in missing:
        shutil.rmtree(corpus / name, ignore_errors=True)
        (corpus / name).mkdir(parents=True)
    tasks = ((name, partial(_make, entry, Case(corpus / name), pnnx)) for name, entry in missing.items())
    for at, (name, outcome) in enumerate(run_isolated(tasks, jobs, CASE_SECONDS), 1):
        progress("convert", at, len(missing))
        if isinstance(outcome, Died):
            Case(corpus / name).finish(Record(skipped=f"tracing: {outcome.reason}"))


def _make(entry: Any, case: Case, pnnx: Pnnx) -> None:
    try:
        traced = save_sample(entry, case.folder)
    except Unusable as error:
        case.finish(Record(skipped=str(error)))
        return
    case.finish(convert_case(case, pnnx, traced.input_shapes))


def convert_case(
    case: Case, pnnx: Pnnx, input_shapes: str, *settings: str, seconds: float = PNNX_SECONDS
) -> Record:
    """Run pnnx in the case's folder; `settings` are further arguments such as `fp16=0`."""
    command = [str(pnnx.program), case.script.name, f"inputshape={input_shapes}", *settings]
    started = time.monotonic()
    with (case.folder / "pnnx.log").open("wb") as log:
        try:
            ended = subprocess.run(
                command, cwd=case.folder, stdout=log, stderr=subprocess.STDOUT, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return Record(failure=f"{case.read_last_stage()}: no end within {seconds:.0f} s")
    took = round(time.monotonic() - started, 3)
    if case.python.exists() and case.ncnn_param.exists():
        return Record(seconds=took)
    return Record(seconds=took, failure=f"{case.read_last_stage()}: exit code {ended.returncode}")
