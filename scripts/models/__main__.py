"""Converts real architectures, repairs them, and writes `docs/models.md`.

    python -m scripts.models                       all of them, the pnnx that is installed
    python -m scripts.models --only 'swin|vit'     some; the report goes to build/models

Needs timm, torchvision and transformers (the extra `models`). What is converted stays in
`build/models/<torch>-<pnnx>`. Exit code 1 if a model that was right became wrong.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import time
from functools import partial
from pathlib import Path

from scripts.coverage.convert import BUILD, Pnnx, convert_case, find_pnnx
from scripts.coverage.corpus import Case, Record, find_cases
from scripts.coverage.isolate import Died, run_isolated
from scripts.coverage.judge import (
    HALF_FLOATS,
    NCNN_TOLERANCE,
    SECONDS,
    WEIGHTS_TOLERANCE,
    Verdict,
    judge_all,
    judge_ncnn,
)
from scripts.coverage.repair import Repair, repair_copy
from scripts.coverage.report import find_versions
from scripts.models.architectures import make, names

DOCUMENT = BUILD.parent / "docs" / "models.md"
CONVERT_SECONDS = 600


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.models", description=__doc__)
    parser.add_argument("--pnnx", default="", metavar="RELEASE", help="default: the one that is installed")
    parser.add_argument("--only", default="", metavar="REGEX", help="architectures whose name matches")
    parser.add_argument("--work", type=Path, default=BUILD / "models", metavar="DIR")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(arguments)
    import torch

    pnnx = find_pnnx(options.pnnx)
    work = options.work.resolve() / f"{torch.__version__.partition('+')[0]}-{pnnx.release}"
    corpus = work / "corpus"
    wanted = [name for name in names() if re.search(options.only, name)]
    _fill(corpus, wanted, pnnx, options.jobs)
    slugs = {_slug(name) for name in wanted}
    cases = [case for case in find_cases(corpus, "") if case.name in slugs]
    records = {case.name: case.read_record() for case in cases}
    converted = [case for case in cases if not records[case.name].skipped and not records[case.name].failure]
    before = judge_all(converted, options.jobs, _tell)
    repair = repair_copy(converted, work / "repaired")
    changed = [case for case in repair.cases if case.name in repair.changed]
    references = {name: verdicts.not_comparable for name, verdicts in before.items()}
    after = before | judge_all(changed, options.jobs, _tell, references)
    rows = [(case.name, before[case.name].ncnn, after[case.name].ncnn) for case in converted]
    by_default = _count_by_default(repair.cases, options.jobs)
    largest = max(
        (case for case in converted if case.name in repair.changed),
        key=lambda case: case.ncnn_bin.stat().st_size,
        default=None,
    )
    cost = "" if largest is None else _tell_cost(largest, records[largest.name], work / "largest")
    output = DOCUMENT if not options.only else work / "models.md"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(_report(rows, by_default, records, repair, cost, pnnx.release), encoding="utf-8")
    print(f"{output} is written", file=sys.stderr)
    return 1 if any(was.state == "ok" != now.state for _, was, now in rows) else 0


def _tell_cost(case: Case, record: Record, folder: Path) -> str:
    """What the repair of one model alone takes, load check and writes included, beside pnnx."""
    seconds = repair_copy([case], folder).seconds
    size = case.ncnn_bin.stat().st_size / 1e6
    return (
        f" The largest of these, {case.name} ({size:.0f} MB), takes {seconds:.1f} s alone, "
        f"pnnx {record.seconds:.1f} s."
    )


def _fill(corpus: Path, wanted: list[str], pnnx: Pnnx, jobs: int) -> None:
    missing = [name for name in wanted if not Case(corpus / _slug(name)).is_done]
    for name in missing:
        shutil.rmtree(corpus / _slug(name), ignore_errors=True)
        (corpus / _slug(name)).mkdir(parents=True)
    tasks = ((name, partial(_convert, name, Case(corpus / _slug(name)), pnnx)) for name in missing)
    for at, (name, outcome) in enumerate(run_isolated(tasks, jobs, CONVERT_SECONDS), 1):
        _tell("convert", at, len(missing))
        if isinstance(outcome, Died):
            Case(corpus / _slug(name)).finish(Record(skipped=f"tracing: {outcome.reason}"))


def _convert(name: str, case: Case, pnnx: Pnnx) -> None:
    import torch

    network = make(name)
    with torch.no_grad():
        outputs = network.module(*network.inputs)
        outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        traced = torch.jit.trace(network.module, network.inputs, check_trace=False)
    traced.save(str(case.script))
    torch.save(
        {"in": list(network.inputs), "out": [tensor.detach() for tensor in outputs]}, case.folder / "io.pt"
    )
    kinds = {torch.float32: "f32", torch.int64: "i64"}
    shapes = ",".join(
        f"[{','.join(map(str, tensor.shape))}]{kinds[tensor.dtype]}" for tensor in network.inputs
    )
    case.finish(convert_case(case, pnnx, shapes, "fp16=0", seconds=CONVERT_SECONDS))


def _slug(name: str) -> str:
    return name.replace("/", "-")


def _tell(stage: str, at: int, total: int) -> None:
    print(f"{time.strftime('%H:%M:%S')} {stage}: {at} of {total}", file=sys.stderr, flush=True)


def _count_by_default(cases: list[Case], jobs: int) -> int:
    """How many are right where ncnn runs with its own options."""
    tasks = [(case.name, partial(judge_ncnn, case, is_default=True)) for case in cases]
    return sum(outcome == Verdict("ok") for _, outcome in run_isolated(tasks, jobs, SECONDS))


def _report(
    rows: list[tuple[str, Verdict, Verdict]],
    by_default: int,
    records: dict[str, Record],
    repair: Repair,
    cost: str,
    release: str,
) -> str:
    total = len(rows)
    ok_before = sum(was.state == "ok" for _, was, _ in rows)
    ok_after = sum(now.state == "ok" for _, _, now in rows)
    versions = ", ".join(f"{name} {version}" for name, version in find_versions(release).items())
    lines = [
        "# Real architectures",
        "",
        f"Written by `make models`: {versions}. Random weights, fp32, one image or sentence each.",
        "",
        f"ncnn loads the model and gives PyTorch's numbers: {ok_before} of {total} before, "
        f"{ok_after} of {total} after `pnnxfix fix`, which changed {len(repair.changed)} "
        f"({repair.seconds:.1f} s for all; "
        f"pnnx took {sum(r.seconds for r in records.values()):.0f} s).{cost}",
        "",
        f"Right is an error of at most {NCNN_TOLERANCE.relative} relative + {NCNN_TOLERANCE.absolute} "
        "absolute, element by element. ncnn runs in fp32, as in [`verify`](verify.md): "
        f"{', '.join(f'`{option}`' for option in HALF_FLOATS)} are off. By default ncnn itself keeps the "
        "weights of InnerProduct as half floats on x86, which alone costs about a thousandth; "
        f"then {by_default} of {total} are within these bounds or {WEIGHTS_TOLERANCE.relative} of the "
        "output's root mean square.",
        "",
        "| architecture | pnnx alone | after `fix` | |",
        "|---|---|---|---|",
    ]
    for name, was, now in rows:
        why = now.message.replace("|", "/") if now.state != "ok" else ""
        lines.append(f"| {name} | {was.state} | {now.state} | {why} |")
    left = [
        f"- {name}: {record.skipped or record.failure}"
        for name, record in records.items()
        if record.skipped or record.failure
    ]
    if left:
        lines += ["", "Not converted:", "", *left]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
