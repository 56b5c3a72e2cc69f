"""What `make bench-verify` runs: time and memory of `verify` beside running the models by hand.

    python benchmarks/run_verify.py [--quick] [--results FILE] [--page FILE]

A full run writes `benchmarks/verify.json` and, from it, `docs/benchmarks-verify.md`. The exit code is 1
where a bar is missed. `--quick` takes a short chain of blocks, and its figures mean nothing.
"""

from __future__ import annotations

import argparse
import compileall
import json
import tempfile
from pathlib import Path
from typing import Any

from figures import Figure, read_figure, render_sections, render_text
from measure import ROOT
from memory import Memory, read_memory
from run import describe_machine, find_versions
from verify import measure, measure_memory
from workshop import Workshop

RESULTS = ROOT / "benchmarks" / "verify.json"
PAGE = ROOT / "docs" / "benchmarks-verify.md"
PACKAGES = ("numpy", "ncnn", "torch", "pnnx")


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description="Measure time and memory of `verify` beside floors.")
    parser.add_argument("--quick", action="store_true", help="small and once; the figures mean nothing")
    parser.add_argument("--results", type=Path, help="where the numbers go")
    parser.add_argument("--page", type=Path, help="where the page made from them goes")
    options = parser.parse_args(arguments)
    results = options.results or (None if options.quick else RESULTS)
    page = options.page or (None if options.quick else PAGE)

    compileall.compile_dir(str(ROOT / "pnnxfix"), quiet=1)
    machine, versions = describe_machine(), find_versions(PACKAGES)
    figures: list[Figure] = []
    sizes: list[Memory] = []
    with tempfile.TemporaryDirectory(prefix="pnnxfix-bench-") as home:
        shop = Workshop(Path(home), options.quick)
        for figure in measure(shop):
            print(render_text([figure]), flush=True)
            figures.append(figure)
        for size in measure_memory(shop):
            print(" ".join(_render_row(size)), flush=True)
            sizes.append(size)
    result = {
        "schema": 1,
        "machine": machine,
        "versions": versions,
        "figures": [figure.to_json() for figure in figures],
        "memory": [size.to_json() for size in sizes],
    }
    if results is not None:
        results.write_text(json.dumps(result, indent=1) + "\n")
    if page is not None:
        page.write_text(render_page(result))
    if options.quick:
        print("A quick run: the programs work; the figures and verdicts mean nothing.")
        return 0
    verdicts = [one.verdict for one in (*figures, *sizes)]
    missed, bars = verdicts.count("MISS"), len(verdicts) - verdicts.count("no bar")
    print(f"{bars - missed} of {bars} bars passed")
    return 1 if missed else 0


def render_page(result: dict[str, Any]) -> str:
    """The Markdown page of one run."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        "# Time and memory of `verify`",
        "",
        "Written by `make bench-verify` from [the numbers of one run](../benchmarks/verify.json).",
        "",
        f"{result['machine']}. {versions}.",
        "",
        "Fastest run / median; a figure and its floor run in turn. The deep network is a chain of blocks,",
        "traced and converted for the run. One product of the ncnn model is altered, and `verify` has to",
        "name that layer, or nothing is measured. A bar is passed if the ratios of the time on the wall and",
        "of the processor are within it. The bars are the project's own reading of bisecting in well under",
        "the time of ten inferences of each form, and of memory that stays bounded.",
        *render_sections([read_figure(data) for data in result["figures"]]),
        "",
        "## Memory",
        "",
        "The largest resident set of each process, summed over all that the command starts. `verify` holds",
        "PyTorch twice, once for the reference and once for the generated Python.",
        "",
        "| | peak | floor | peak | ratio | bar | |",
        "|---|---|---|---|---|---|---|",
        *(f"| {' | '.join(_render_row(read_memory(data)))} |" for data in result["memory"]),
    ]
    return "\n".join(lines) + "\n"


def _render_row(one: Memory) -> tuple[str, ...]:
    bar = "none" if one.bar is None else f"{one.bar:.3g}"
    sizes = f"{one.peak / 1e6:.0f} MB", f"{one.floor / 1e6:.0f} MB"
    return one.what, sizes[0], one.floor_name, sizes[1], f"{one.ratio:.2f}", bar, one.verdict


if __name__ == "__main__":
    raise SystemExit(main())
