"""One command from TorchScript to ncnn: pnnx, then check, fix and verify, in a folder of their own."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from pnnxfix.conversion.arguments import Arguments, check_model
from pnnxfix.conversion.blame import check_inputs, find_culprit
from pnnxfix.conversion.explain import Explanation, explain
from pnnxfix.conversion.judge import judge
from pnnxfix.conversion.log import Log, read_log
from pnnxfix.conversion.outcome import Attempt, ConvertReport, Way
from pnnxfix.conversion.pnnx import Pnnx, Run, find_pnnx, run_pnnx
from pnnxfix.conversion.prepare import prepare_model
from pnnxfix.conversion.staging import Stage, check_outputs, check_written, open_stage, publish, publish_log
from pnnxfix.conversion.versions import find_known_bad, find_versions
from pnnxfix.errors import PnnxfixError
from pnnxfix.options import Options
from pnnxfix.pipeline.discovery import find_conversions
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.pipeline.run import fix_paths
from pnnxfix.report import ConversionReport, Finding, Problem
from pnnxfix.rules.console import DiedInside, InputMismatch, UnreadableModel, UnwrittenFile
from pnnxfix.verify.process import Limits

_FASTER = 0.95
"""A prepared model is kept for its speed only if it takes less than this part of the time."""


@dataclass(frozen=True, slots=True)
class Request:
    """`prepare` tries a rewritten copy of the model as well; `program` is pnnx, None for the installed one.

    `seconds` bound each run of pnnx and each answer of PyTorch or ncnn.
    """

    arguments: Arguments
    prepare: bool = False
    program: Path | None = None
    options: Options = field(default_factory=Options)
    seconds: float = 3600.0


def convert_model(request: Request) -> ConvertReport:
    """Convert, explain, repair, compare; then write the files, all of them or none.

    Raises PnnxfixError for bad input and for a place that cannot be written. A death of pnnx is no
    error: the report names the operator.
    """
    arguments = request.arguments
    pnnx = find_pnnx(request.program)
    check_model(arguments, pnnx.release)
    check_outputs(arguments)
    versions = find_versions(pnnx.release)
    report = ConvertReport(arguments.model, arguments.stem, versions, find_known_bad(versions))
    with ExitStack() as stack:
        first = stack.enter_context(open_stage(arguments))
        stages: dict[Way, Stage] = {"as given": first}
        report.attempts.append(_attempt("as given", request, pnnx, first, {}))
        others: list[tuple[Path, Path]] = []
        if request.prepare:
            prepared = first.folder / f"{arguments.stem.name}.prepared.pt"
            outcome = prepare_model(arguments.model, prepared)
            shaped = _with_shapes(arguments, first)
            if shaped is None:
                report.notes.append("give inputshape= for --prepare: the model does not tell its shapes")
            elif outcome.failure:
                report.notes.append(f"the model could not be prepared: {outcome.failure}")
            elif not outcome.rewritten:
                report.notes.append("nothing of the model is known to convert better in another form")
            else:
                second = stack.enter_context(open_stage(shaped, prepared))
                stages["prepared"] = second
                report.attempts.append(_attempt("prepared", request, pnnx, second, outcome.rewritten))
                others = [(prepared, Path(f"{arguments.stem}.prepared.pt"))]
        kept, report.reason = choose(report.attempts)
        if kept.died:
            report.written = publish_log(stages[kept.way])
        else:
            report.kept = kept
            report.written = publish(stages[kept.way], others)
    return report


def _with_shapes(arguments: Arguments, stage: Stage) -> Arguments | None:
    """The arguments with the shapes that pnnx found in the trace, which a prepared model has lost.

    None where it found none. Without shapes nothing would be compared but single numbers.
    """
    if not arguments.options.keys().isdisjoint({"inputshape", "input"}):
        return arguments
    with open(stage.log, errors="replace") as log:
        found = next((line for line in log if line.startswith("inputshape = [")), "")
    shapes = found.removeprefix("inputshape = ").strip()
    if re.fullmatch(r"(\[\d+(,\d+)*\]\w+,?)+", shapes) is None:
        return None
    return replace(arguments, options={**arguments.options, "inputshape": shapes.rstrip(",")})


def choose(attempts: Sequence[Attempt]) -> tuple[Attempt, str]:
    """The better attempt and why: one that agrees, then the faster one, then the one nearer to the model."""
    first, *rest = attempts
    if not rest:
        return first, ""
    second = rest[0]
    if first.works != second.works:
        better = first if first.works else second
        return better, f"{better.way}: only this one gives PyTorch's numbers"
    if first.works and 0 < second.milliseconds < _FASTER * first.milliseconds:
        faster = f"{second.milliseconds:.3f} ms, not {first.milliseconds:.3f}"
        return second, f"{second.way}: both agree, and it is faster ({faster})"
    if first.works:
        return first, f"{first.way}: both agree, and the other is not faster"
    if first.died and not second.died:
        return second, f"{second.way}: pnnx dies of the other"
    left = [len(one.report.findings) if one.report is not None else 0 for one in (first, second)]
    if not second.died and left[1] < left[0]:
        return second, f"{second.way}: neither works, and it has fewer findings left"
    return first, f"{first.way}: neither works"


def _attempt(way: Way, request: Request, pnnx: Pnnx, stage: Stage, rewritten: dict[str, int]) -> Attempt:
    run = run_pnnx(pnnx, stage.command, stage.folder, stage.log, request.seconds)
    log = read_log(stage.log)
    missing = stage.missing()
    if run.exit_code != 0 or missing:
        _raise_for_input(log, stage, run)
        check_inputs(request.arguments, log)
        culprit = find_culprit(pnnx, stage, stage.folder / request.arguments.model.name, log)
        attempt = Attempt(way, run, rewritten, culprit, seconds=(run.seconds, 0.0, 0.0))
        attempt.explanations = _explain(log, stage, [], False)
        return attempt
    check_written(stage)
    stage.embed_paths()
    started = time.monotonic()
    fixed = fix_paths([stage.path("ncnnparam")], request.options)
    repaired = time.monotonic()
    conversions, _, _ = find_conversions([stage.path("ncnnparam")])
    judged = judge(conversions[0], request.arguments.model, Limits(seconds=request.seconds))
    ended = time.monotonic()
    attempt = Attempt(way, run, rewritten, None, fixed.conversions[0], judged)
    attempt.report = _name_as_given(fixed.conversions[0], stage)
    attempt.explanations = _explain(log, stage, fixed.conversions[0].findings, judged.agrees)
    attempt.seconds = run.seconds, repaired - started, ended - repaired
    return attempt


def _raise_for_input(log: Log, stage: Stage, run: Run) -> None:
    """Raises PnnxfixError where the log says that the input is at fault, or that a file was not written."""
    for group in log.groups:
        if group.rule in (InputMismatch, UnreadableModel, UnwrittenFile):
            text = stage.say_as_given(group.text)
            raise PnnxfixError(f"{stage.arguments.model}: pnnx says `{text}`: {group.rule.cure}")
    if log.is_usage:
        raise PnnxfixError(f"{stage.arguments.model}: pnnx did not understand its arguments")
    if run.exit_code is None:
        raise PnnxfixError(f"{stage.arguments.model}: pnnx gave no end within {run.seconds:.3g} s")
    if log.said and not log.stage and not log.culprit:
        raise PnnxfixError(f"{stage.arguments.model}: pnnx dies of reading it: {log.said}")


def _explain(log: Log, stage: Stage, findings: Sequence[Finding], agrees: bool) -> list[Explanation]:
    """The log's lines; where the numbers agree, none of them matters."""
    conversions, _, _ = find_conversions([stage.folder])
    found = []
    for conversion in conversions:
        for one in explain(log, LoadedConversion(conversion), findings):
            told = one
            if agrees and one.verdict != "harmless":
                told = replace(one, verdict="harmless", message=f"{one.message}; the numbers agree", help="")
            if told.rule is DiedInside:
                told = replace(told, help="")  # it says to run this command
            message = stage.say_as_given(told.message)
            found.append(replace(told, path=stage.arguments.log, message=message))
        break
    return found


def _name_as_given(report: ConversionReport, stage: Stage) -> ConversionReport:
    """The report with the paths that the files will have."""

    def say(text: str) -> str:
        return stage.say_as_given(text)

    def rename(finding: Finding) -> Finding:
        refusal = None if finding.refusal is None else say(finding.refusal)
        return finding._replace(
            path=Path(say(str(finding.path))), message=say(finding.message), help=say(finding.help),
            refusal=refusal,
        )  # fmt: skip

    def move(problem: Problem) -> Problem:
        return problem._replace(path=Path(say(str(problem.path))), message=say(problem.message))

    return ConversionReport(
        stage.arguments.stem,
        findings=[rename(finding) for finding in report.findings],
        fixed=[rename(finding) for finding in report.fixed],
        changes=[change._replace(path=Path(say(str(change.path)))) for change in report.changes],
        problems=[move(problem) for problem in report.problems],
        notes=[say(note) for note in report.notes],
    )
