"""The benchmarks run, judge honestly, and the page in the documentation is made of their numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The modules of the benchmarks, which import each other by bare names."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import figures

    yield figures
    for name in ("figures", "measure", "generated", "memory", "run_verify"):
        sys.modules.pop(name, None)


def make_figure(figures: Any, seconds: tuple[float, ...], bar: float | None, cpu: float = 0.5) -> Any:
    import measure

    def timing(*wall: float, cpu: float = 0.5) -> Any:
        return measure.Timing(wall, (min(wall) * cpu,), 1_000_000)

    return figures.Figure("S", "what", timing(*seconds, cpu=cpu), "floor", timing(1.0, 4.0), bar)


@pytest.mark.parametrize(
    ("seconds", "bar", "ratio", "verdict"),
    [
        ((3.0, 9.0), 3.0, 3.0, "PASS"),
        ((3.1, 9.0), 3.0, 3.1, "MISS"),
        ((9.0, 0.04), 0.05, 0.04, "PASS"),
        ((9.0, 9.0), None, 9.0, "no bar"),
    ],
)
def test_the_fastest_run_is_held_against_the_bar(
    figures: Any, seconds: tuple[float, ...], bar: float | None, ratio: float, verdict: str
) -> None:
    figure = make_figure(figures, seconds, bar)
    assert figure.ratio == ratio
    assert figure.verdict == verdict
    assert verdict in figures.render_text([figure])


def test_a_floor_that_other_load_slowed_passes_nothing(figures: Any) -> None:
    figure = make_figure(figures, (2.9,), 3.0, cpu=0.6)
    assert figure.ratio == 2.9
    assert figure.cpu_ratio > 3.0
    assert figure.verdict == "MISS"


def test_a_verdict_is_computed_not_read(figures: Any) -> None:
    data = make_figure(figures, (9.0,), 3.0).to_json() | {"ratio": 1.0, "verdict": "PASS"}
    assert figures.read_figure(data).verdict == "MISS"


def test_time_and_memory_are_those_of_the_process(figures: Any) -> None:
    import measure

    code = "import time; time.sleep(0.1); held = b'x' * 80_000_000"
    calls: list[int] = []
    contender = measure.Contender([sys.executable, "-c", code], prepare=lambda: calls.append(1))
    timing = measure.race({"one": contender}, 2)["one"]
    assert len(calls) == 3  # with the run that warms
    assert len(timing.wall) == 2
    assert 0.1 <= timing.best <= timing.median
    assert 80e6 < timing.peak < 1e9


def test_a_failed_program_has_no_time(figures: Any) -> None:
    import measure

    with pytest.raises(RuntimeError, match="ends with 3"):
        measure.race({"one": measure.Contender([sys.executable, "-c", "raise SystemExit(3)"])}, 1)


@pytest.mark.parametrize("kind", ["graphs", "python"])
def test_generated_files_have_their_leaks(figures: Any, tmp_path: Path, kind: str) -> None:
    import generated

    import pnnxfix

    write = generated.write_graphs if kind == "graphs" else generated.write_python
    write(tmp_path, 500, 10)
    report = pnnxfix.fix(tmp_path, load_check=False)
    assert report.exit_code == 0
    clamps = [finding for finding in report.fixed if finding.code == "PNX101"]
    assert len(clamps) == (20 if kind == "graphs" else 10)


def test_everything_runs(tmp_path: Path) -> None:
    results, page = tmp_path / "results.json", tmp_path / "page.md"
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--quick"]
    done = subprocess.run(
        [*command, "--results", str(results), "--page", str(page)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(results.read_text())
    assert data["machine"]
    assert {"Python", "pnnxfix", "click", "libcst", "ncnn"} <= set(data["versions"])
    assert len(data["figures"]) == 9
    for figure in data["figures"]:
        assert figure["what"] in done.stdout
        assert figure["what"] in page.read_text()
    assert "mean nothing" in done.stdout


def test_the_page_is_made_of_the_stored_numbers(figures: Any) -> None:
    stored = json.loads((BENCHMARKS / "results.json").read_text())
    assert figures.render_page(stored) == (ROOT / "docs" / "benchmarks.md").read_text()
    assert {figure["section"] for figure in stored["figures"]} >= {"Beside pnnx", "Inference"}


def test_memory_is_that_of_all_processes(figures: Any) -> None:
    import memory

    if not Path("/proc/self/status").exists():
        pytest.skip("the memory of a process and its children is read from Linux's /proc")
    child = "import time; held = b'x' * 60_000_000; time.sleep(0.3)"
    both = (
        f"import subprocess, sys; held = b'x' * 80_000_000; subprocess.run([sys.executable, '-c', {child!r}])"
    )
    assert 140e6 < memory.find_peak([sys.executable, "-c", both]) < 1e9
    with pytest.raises(RuntimeError, match="ends with 3"):
        memory.find_peak([sys.executable, "-c", "raise SystemExit(3)"])


def test_a_verdict_over_memory_is_computed_not_read(figures: Any) -> None:
    import memory

    one = memory.Memory("what", 300, "floor", 100, 2.0)
    assert (one.ratio, one.verdict) == (3.0, "MISS")
    assert memory.read_memory(one.to_json() | {"verdict": "PASS"}).verdict == "MISS"


def test_verify_is_measured(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the benchmark runs the TorchScript form")
    results, page = tmp_path / "results.json", tmp_path / "page.md"
    command = [sys.executable, str(BENCHMARKS / "run_verify.py"), "--quick"]
    done = subprocess.run(
        [*command, "--results", str(results), "--page", str(page)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(results.read_text())
    assert {"Python", "numpy", "ncnn", "torch", "pnnx"} <= set(data["versions"])
    assert (len(data["figures"]), len(data["memory"])) == (3, 2)
    for one in (*data["figures"], *data["memory"]):
        assert one["what"] in page.read_text()


def test_the_page_of_verify_is_made_of_the_stored_numbers(figures: Any) -> None:
    import run_verify

    stored = json.loads((BENCHMARKS / "verify.json").read_text())
    assert run_verify.render_page(stored) == (ROOT / "docs" / "benchmarks-verify.md").read_text()
    assert len(stored["memory"]) == 3
