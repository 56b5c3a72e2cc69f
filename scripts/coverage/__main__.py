"""Converts PyTorch's operators, repairs them, and writes `docs/coverage.md`.

    python -m scripts.coverage                      all operators, the pnnx that is installed
    python -m scripts.coverage --only '^sum|^clamp' some; the report goes to build/coverage
    python -m scripts.coverage --corpus DIR         conversions that exist, in the layout of `corpus.py`

What is converted stays in `build/coverage/<torch>-<pnnx>`, so a second run only repairs and judges.
Exit code 1 if a conversion that was right became wrong, or if a second `fix` changed something.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from scripts.coverage.convert import BUILD, fill_corpus, find_pnnx
from scripts.coverage.corpus import find_cases
from scripts.coverage.judge import judge_all
from scripts.coverage.repair import repair_copy
from scripts.coverage.report import Result, find_versions, write_report

DOCUMENT = BUILD.parent / "docs" / "coverage.md"


def main(arguments: list[str] | None = None) -> int:
    options = _read_options(arguments)
    progress = _Progress()
    work = options.work.resolve()
    if options.corpus:
        corpus, release = options.corpus.resolve(), options.pnnx or "unknown: the corpus was given"
        source, work = f"Conversions that were given ({corpus.name})", work / "given" / corpus.name
    else:
        import torch

        pnnx = find_pnnx(options.pnnx)
        release = pnnx.release
        work = work / f"{torch.__version__.partition('+')[0]}-{release}"
        source, corpus = "PyTorch's OpInfo database, one float32 sample each", work / "corpus"
        fill_corpus(corpus, pnnx, options.only, options.jobs, progress)
    cases = find_cases(corpus, options.only)
    if not cases:
        raise SystemExit(f"{corpus} holds no finished conversion whose name matches {options.only!r}")
    records = {case.name: case.read_record() for case in cases}
    converted = [case for case in cases if not records[case.name].skipped]

    before = judge_all(converted, options.jobs, progress)
    repair = repair_copy(converted, work / "repaired")
    # What kept every byte keeps its verdict.
    changed = [case for case in repair.cases if case.name in repair.changed]
    references = {name: verdicts.not_comparable for name, verdicts in before.items()}
    after = before | judge_all(changed, options.jobs, progress, references)

    result = Result(source, find_versions(release), records, before, after, repair)
    is_whole = not options.only and not options.corpus
    output = options.output or (DOCUMENT if is_whole else work / "coverage.md")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(write_report(result), encoding="utf-8")
    verdicts = {
        name: {"before": asdict(before[name]), "after": asdict(after[name])} for name in sorted(before)
    }
    output_json = work / "verdicts.json"
    output_json.write_text(json.dumps(verdicts, indent=1) + "\n", encoding="utf-8")
    print(f"{output} and {output_json} are written", file=sys.stderr)
    for line in result.became_wrong:
        print(f"was right, became wrong: {line}", file=sys.stderr)
    for name in repair.unstable:
        print(f"changed by a second run: {name}", file=sys.stderr)
    return 1 if result.became_wrong or repair.unstable else 0


def _read_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.coverage", description="Measure what pnnxfix repairs, operator by operator."
    )
    parser.add_argument("--pnnx", default="", metavar="RELEASE", help="default: the one that is installed")
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="judge conversions that exist already")
    parser.add_argument("--only", default="", metavar="REGEX", help="operators whose name matches")
    parser.add_argument(
        "--work", type=Path, default=BUILD / "coverage", metavar="DIR", help="default: build/coverage"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (default: 2)")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help=f"default: docs/{DOCUMENT.name} if all ran"
    )
    return parser.parse_args(arguments)


class _Progress:
    """A line on stderr every ten seconds, and at the end of each stage."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def __call__(self, stage: str, at: int, total: int) -> None:
        if at == total or time.monotonic() - self._shown > 10:
            self._shown = time.monotonic()
            print(f"{stage}: {at} of {total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
