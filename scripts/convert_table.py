"""Measures how many models give a working ncnn network, and writes the table into docs/convert.md.

    python -m scripts.convert_table                    all of PyTorch's operators
    python -m scripts.convert_table --sample 150       every n-th of them, 150 in all
    python -m scripts.convert_table --corpus DIR       conversions that exist, laid out as in scripts.coverage
    python -m scripts.convert_table --models DIR       whole networks, laid out as in scripts.models

Three ways, each judged on the sample's own inputs and PyTorch's outputs: what pnnx writes, the same after
`pnnxfix fix`, and what `pnnxfix convert --prepare` writes. Whole networks keep their weights as fp32 in all
of them, and have a table of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.coverage.convert import BUILD, fill_corpus, find_pnnx
from scripts.coverage.corpus import Case, find_cases
from scripts.coverage.judge import judge_all
from scripts.coverage.repair import repair_copy

DOCUMENT = BUILD.parent / "docs" / "convert.md"
_BLOCK = r"(<!-- table: {} -->\n).*?(<!-- /table -->)"
_SECONDS = 1800
_ONE_STEP = {False: "60", True: "600"}
"""The time limit of pnnx and of each run, for an operator and for a whole network."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way from a model to ncnn: how many networks agree of how many, and the median of seconds."""

    name: str
    agree: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Converted:
    """What one run of `convert --prepare` said, and how long it took."""

    seconds: float
    exit_code: int
    kept: str = ""
    pnnx_seconds: float = 0.0
    fix_seconds: float = 0.0


def main(arguments: list[str] | None = None) -> int:
    options = _read_options(arguments)
    cases, total = _find_cases(options)
    print(f"{len(cases)} of {total} models", file=sys.stderr)
    work = BUILD / "convert"
    shutil.rmtree(work, ignore_errors=True)
    before = judge_all(cases, options.jobs, _show)
    repair = repair_copy(cases, work / "fixed")
    after = judge_all(repair.cases, options.jobs, _show)
    folder = work / "converted"
    runs = _convert_all(cases, folder, options.jobs, options.models is not None)
    prepared = judge_all([Case(folder / case.name) for case in cases], options.jobs, _show)

    names = [case.name for case in cases if not before[case.name].not_comparable]
    agree = [{n for n in names if verdicts[n].ncnn.state == "ok"} for verdicts in (before, after, prepared)]
    for lost in sorted((agree[0] | agree[1]) - agree[2]):
        print(f"lost by convert --prepare: {lost}", file=sys.stderr)
    ways = [
        Way("pnnx alone", len(agree[0]), _median(run.pnnx_seconds for run in runs.values())),
        Way("pnnx, then `pnnxfix fix`", len(agree[1]),
            _median(run.pnnx_seconds + run.fix_seconds for run in runs.values())),
        Way("`pnnxfix convert --prepare`", len(agree[2]), _median(run.seconds for run in runs.values())),
    ]  # fmt: skip
    table = _write_table(ways, len(names), len(cases), total, runs)
    print(table)
    record = {name: asdict(run) for name, run in runs.items()}
    (work / "runs.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if options.write:
        text = DOCUMENT.read_text(encoding="utf-8")
        block = _BLOCK.format("convert-models" if options.models else "convert")
        text = re.sub(block, lambda m: f"{m[1]}\n{table}\n{m[2]}", text, flags=re.DOTALL)
        DOCUMENT.write_text(text, encoding="utf-8")
    return 0


def _find_cases(options: argparse.Namespace) -> tuple[list[Case], int]:
    corpus = options.models or options.corpus
    if corpus is None:
        pnnx = find_pnnx()
        corpus = BUILD / "convert-corpus" / pnnx.release
        fill_corpus(corpus, pnnx, options.only, options.jobs, _show)
    is_operator = options.models is None
    cases = [
        case for case in find_cases(corpus, options.only)
        if not (record := case.read_record()).skipped and (is_operator or not record.failure)
    ]  # fmt: skip
    if not cases:
        raise SystemExit(f"{corpus} holds no finished conversion whose name matches {options.only!r}")
    step = max(1, len(cases) // options.sample) if options.sample else 1
    return (cases[::step][: options.sample] if options.sample else cases), len(cases)


def _convert_all(cases: list[Case], folder: Path, jobs: int, is_network: bool) -> dict[str, Converted]:
    runs: dict[str, Converted] = {}
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {case.name: pool.submit(_convert, case, folder / case.name, is_network) for case in cases}
        for name, future in waiting.items():
            runs[name] = future.result()
            _show("convert", len(runs), len(cases))
    return runs


def _convert(case: Case, folder: Path, is_network: bool) -> Converted:
    """Run the command as a user does, in a folder that holds the model and nothing else."""
    folder.mkdir(parents=True)
    shutil.copy(case.script, folder)
    shutil.copy(case.folder / "io.pt", folder)
    command = [sys.executable, "-m", "pnnxfix", "convert", "--prepare", "--output-format", "json"]
    environment = {**os.environ, "PYTHONPATH": str(BUILD.parent)}
    words = ["--timeout", _ONE_STEP[is_network], case.script.name, *(["fp16=0"] if is_network else [])]
    started = time.monotonic()
    try:
        done = subprocess.run(
            [*command, *words],
            cwd=folder, env=environment, capture_output=True, timeout=_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Converted(time.monotonic() - started, 2)
    seconds = time.monotonic() - started
    if not done.stdout:
        return Converted(seconds, done.returncode)
    report = json.loads(done.stdout)
    first = report["attempts"][0]
    return Converted(
        seconds, done.returncode, report["kept"] or "", first["seconds"]["pnnx"], first["seconds"]["repair"]
    )


def _median(values: object) -> float:
    return statistics.median(values)  # type: ignore[call-overload,no-any-return]


def _write_table(ways: list[Way], comparable: int, tried: int, total: int, runs: dict[str, Converted]) -> str:
    import importlib.metadata

    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "pnnx", "ncnn"))
    sample = f"{tried} of {total} models, evenly chosen" if tried < total else f"all {total} models"
    exact = sum(run.exit_code == 0 for run in runs.values())
    kept = sum(run.kept == "prepared" for run in runs.values())
    lines = [
        f"{sample}; {comparable} have numbers that can be compared. {versions}.",
        "",
        "| way | working ncnn networks that agree | median time |",
        "|---|---|---|",
        *(f"| {way.name} | {way.agree} of {comparable} | {way.seconds:.1f} s |" for way in ways),
        "",
        f"`convert` said itself of {exact} that they work, and kept the prepared form of {kept}.",
    ]
    return "\n".join(lines) + "\n"


def _read_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.convert_table")
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="conversions that exist already")
    parser.add_argument("--models", type=Path, metavar="DIR", help="a corpus of whole networks")
    parser.add_argument("--only", default="", metavar="REGEX", help="models whose name matches")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="N of them, evenly chosen")
    parser.add_argument("--jobs", type=int, default=2, help="processes that judge at a time (default: 2)")
    parser.add_argument("--write", action="store_true", help=f"put the table into docs/{DOCUMENT.name}")
    return parser.parse_args(arguments)


_last = 0.0


def _show(stage: str, at: int, total: int) -> None:
    global _last
    if at == total or time.monotonic() - _last > 10:
        _last = time.monotonic()
        print(f"{stage}: {at} of {total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
