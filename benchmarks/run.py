"""What `make bench` runs: time and memory, each figure beside its floor, in one run on one machine.

    python benchmarks/run.py [--quick] [--only SECTION ...] [--results FILE] [--page FILE]

A full run writes `benchmarks/results.json` and, from it, `docs/benchmarks.md`. The exit code is 1 where
a bar is missed. `--quick` measures what needs no pnnx, a hundred times smaller and once, and ends with 0:
it shows that the programs run, and its figures mean nothing.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import large
import real
import startup
from figures import Figure, render_page, render_text
from measure import ROOT, make_environment
from workshop import Workshop

PARTS = {"startup": startup, "large": large, "real": real}
RESULTS = ROOT / "benchmarks" / "results.json"
PAGE = ROOT / "docs" / "benchmarks.md"


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description="Measure time and memory of pnnxfix beside floors.")
    parser.add_argument("--quick", action="store_true", help="small and once; the figures mean nothing")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to measure")
    parser.add_argument("--results", type=Path, help="where the numbers go")
    parser.add_argument("--page", type=Path, help="where the page made from them goes")
    options = parser.parse_args(arguments)
    is_whole = not options.quick and options.only == list(PARTS)
    results = options.results or (RESULTS if is_whole else None)
    page = options.page or (PAGE if is_whole else None)

    compileall.compile_dir(str(ROOT / "pnnxfix"), quiet=1)
    result: dict[str, Any] = {"schema": 1, "machine": describe_machine(), "versions": find_versions()}
    print(
        f"{result['machine']}\n{', '.join(f'{k} {v}' for k, v in result['versions'].items())}\n", flush=True
    )
    figures = []
    section = ""
    for figure in _measure(options.only, options.quick):
        if figure.section != section:
            section = figure.section
            print(section)
        print(render_text([figure]), flush=True)
        figures.append(figure)
    result["figures"] = [figure.to_json() for figure in figures]
    if results is not None:
        results.write_text(json.dumps(result, indent=1) + "\n")
    if page is not None:
        page.write_text(render_page(result))
    if options.quick:
        print("A quick run: the programs work; the figures and verdicts mean nothing.")
        return 0
    missed = [figure for figure in figures if figure.verdict == "MISS"]
    bars = sum(figure.bar is not None for figure in figures)
    print(f"{bars - len(missed)} of {bars} bars passed")
    for figure in missed:
        print(f"missed: {figure.what}, beside: {figure.floor_name}")
    return 1 if missed else 0


def _measure(parts: list[str], quick: bool) -> Iterator[Figure]:
    for part in parts:
        with tempfile.TemporaryDirectory(prefix="pnnxfix-bench-") as home:
            yield from PARTS[part].measure(Workshop(Path(home), quick))


def describe_machine() -> str:
    """Processor, cores, memory, kernel and load of this machine."""
    processor = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        processor = names[0] if names else processor
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    size = f"{os.cpu_count()} cores, {memory:.0f} GB, load {os.getloadavg()[0]:.1f} at the start"
    return f"{processor}, {size}, {platform.system()} {platform.release()}"


def find_versions(packages: Sequence[str] = ("click", "libcst", "ncnn", "onnx", "torch")) -> dict[str, str]:
    """Of Python and of the packages that take part."""
    found = {"Python": platform.python_version()}
    asked = subprocess.run(
        [sys.executable, "-c", "import pnnxfix; print(pnnxfix.__version__)"],
        env=make_environment(),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found["pnnxfix"] = asked.stdout.strip()
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "none"
    return found


if __name__ == "__main__":
    raise SystemExit(main())
