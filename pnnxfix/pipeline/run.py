"""`check` and `fix` over any number of conversions."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pnnxfix.errors import PnnxfixError
from pnnxfix.options import Options
from pnnxfix.pipeline.analyse import Analysis
from pnnxfix.pipeline.discovery import NCNN_BIN, NCNN_PARAM, Conversion, find_conversions
from pnnxfix.pipeline.ending import analyse_to_the_end
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.pipeline.traces import pending
from pnnxfix.report import Change, ConversionReport, Problem, Report

if TYPE_CHECKING:
    from pnnxfix.pipeline.load_check import LoadCheck
    from pnnxfix.pipeline.trial import Trial
    from pnnxfix.rules.base import Refusal

_PIECE = 1 << 20
LARGEST_LOAD_CHECK = 10_000
"""Rows up to which ncnn is asked by default: its look-up of blobs makes loading quadratic."""


def check_paths(paths: Sequence[Path], options: Options) -> Report:
    """Report what is wrong in the conversions at the paths. Writes nothing, runs no code of theirs."""
    report = Report()
    conversions, problems, directories = find_conversions(paths, options.exclude)
    report.problems.extend(problems)
    if _is_ambiguous(conversions, "--value" if options.values else "", report):
        return report
    for directory in sorted(directories):
        if pending(_listing(directory)):
            report.problems.append(
                Problem(
                    directory,
                    "a repair of this directory was interrupted",
                    "run `pnnxfix fix` on it to finish or undo it",
                )
            )
    for at, conversion in enumerate(conversions):
        if options.progress is not None:
            options.progress(at, len(conversions), conversion.stem)
        with _without_collector():
            report.conversions.append(_guarded(lambda one: _check(one, options), conversion))
    return report


def _check(conversion: Conversion, options: Options) -> ConversionReport:
    return _report(conversion, *analyse_to_the_end(conversion, options))


def _guarded(work: Callable[[Conversion], ConversionReport], conversion: Conversion) -> ConversionReport:
    """A fault of pnnxfix itself ends the work on one conversion, which is then unchanged, not the run."""
    try:
        return work(conversion)
    except Exception as error:
        if os.environ.get("PNNXFIX_DEBUG"):
            raise
        message = f"internal error, nothing of this conversion was changed: {type(error).__name__}: {error}"
        help_text = "please report it with these files; PNNXFIX_DEBUG=1 shows where it came from"
        return ConversionReport(conversion.stem, problems=[Problem(conversion.stem, message, help_text)])


def fix_paths(paths: Sequence[Path], options: Options) -> Report:
    """Repair the conversions at the paths in place, each one whole or not at all."""
    report = Report()
    conversions, problems, directories = find_conversions(paths, options.exclude)
    report.problems.extend(problems)
    source = "--value" if options.values else "--log" if options.logs else ""
    if _is_ambiguous(conversions, source, report):
        return report
    if not options.dry_run and _recover(directories, report):
        conversions, _, _ = find_conversions(paths, options.exclude)
    with _Session(options) as session:
        for at, conversion in enumerate(conversions):
            if options.progress is not None:
                options.progress(at, len(conversions), conversion.stem)
            with _without_collector():
                report.conversions.append(_guarded(session.fix, conversion))
    return report


def _is_ambiguous(conversions: Sequence[Conversion], source: str, report: Report) -> bool:
    """Whether a source of values is given, and several models are there: pnnx uses the same names in each."""
    if len(conversions) < 2 or not source:
        return False
    message = f"{source} is for one model, and the paths hold {len(conversions)}"
    report.problems.append(Problem(conversions[0].stem, message, "name one file of the model"))
    return True


class _DoesNotRun(Exception):
    """A network whose operators were lowered loads, and is none: a layer beside them is not what it seems."""


class _Session:
    """What the repairs of one run share: the child process that asks ncnn."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._checker: LoadCheck | None = None

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *_: object) -> None:
        if self._checker is not None:
            self._checker.close()

    def fix(self, conversion: Conversion) -> ConversionReport:
        from pnnxfix.rules.base import Refusal

        try:
            return self._fix(conversion, None)
        except _DoesNotRun as error:
            # The rest of the conversion is repaired all the same.
            help_text = "replace the operator in the PyTorch model, or those around it"
            return self._fix(conversion, Refusal(f"{error}", help_text))

    def _fix(self, conversion: Conversion, doubt: Refusal | None) -> ConversionReport:
        """`doubt` is why no operator is lowered to ncnn's layers."""
        options = self._options
        loaded, analysis = analyse_to_the_end(conversion, options, doubt)
        result = _report(conversion, loaded, analysis)
        # What cannot be read may be the half of the conversion that a repair would leave behind.
        if result.problems or not any(finding.fixable for finding in result.findings):
            return result
        will_load = not options.dry_run and self._asks_ncnn(loaded)
        if will_load and self._checker is None:
            from pnnxfix.pipeline.load_check import LoadCheck

            self._checker = LoadCheck()  # its import of ncnn overlaps with what follows
        try:
            from pnnxfix.pipeline.render import render

            known = len(loaded.problems)
            changes, notes = render(loaded, analysis)
            result.notes.extend(notes)
            result.problems.extend(loaded.problems[known:])
            if result.problems:
                return result
            if not options.dry_run:
                result.notes.extend(self._write(loaded, changes, analysis, will_load))
        except PnnxfixError as error:
            result.problems.append(
                Problem(conversion.stem, f"{error}", "nothing of this conversion was changed")
            )
            return result
        result.changes = changes
        result.fixed = [finding for finding in result.findings if finding.fixable]
        result.findings = [finding for finding in result.findings if not finding.fixable]
        return result

    def _asks_ncnn(self, loaded: LoadedConversion) -> bool:
        if loaded.ncnn is None or self._options.load_check is False:
            return False
        return self._options.load_check is True or loaded.ncnn.graph.row_count <= LARGEST_LOAD_CHECK

    def _write(
        self, loaded: LoadedConversion, changes: list[Change], analysis: Analysis, will_load: bool
    ) -> list[str]:
        """Write all files of a conversion or none; gives what is worth knowing of them."""
        notes: list[str] = []
        from pnnxfix.pipeline.transaction import Replacement, stage

        replacements = [
            Replacement(c.path, loaded.stamps[c.path], _insert(c) if c.inserted else c.pieces)
            for c in changes
        ]
        with stage(replacements) as transaction:
            param = loaded.files.get(NCNN_PARAM)
            if will_load and param in transaction.staged:
                weights = loaded.bin_path
                if weights is not None:
                    weights = transaction.staged.get(weights, weights)
                trial = _plan_trial(loaded, analysis)
                trailing = self._ask_ncnn(loaded, transaction.staged[param], weights, trial)
                # What a network that ends earlier leaves in the .bin is meant to stay.
                if trailing and not analysis.ends:
                    name = loaded.files[NCNN_BIN].name
                    notes.append(
                        f"no layer reads the last {trailing} bytes of {name}: a tensor got lost when it was "
                        "converted, or the file belongs to another model"
                    )
            if self._options.before_commit is not None:
                self._options.before_commit(loaded.conversion.stem, loaded.files, transaction.staged)
            transaction.commit()
        return notes

    def _ask_ncnn(
        self, loaded: LoadedConversion, staged: Path, weights: Path | None, trial: Trial | None
    ) -> int:
        """How many bytes at the end of the .bin ncnn did not read.

        Raises CheckFailed where ncnn refuses the result, _DoesNotRun where the lowered network fails.
        """
        from pnnxfix.data import known_layers
        from pnnxfix.pipeline.load_check import NotRunning, Rejected, Unavailable
        from pnnxfix.pipeline.render import CheckFailed

        assert self._checker is not None
        assert loaded.ncnn is not None
        foreign = loaded.ncnn.graph.types - known_layers().keys()
        outcome = self._checker.check(staged, weights, foreign, trial)
        if isinstance(outcome, Rejected):
            said = f": {'; '.join(outcome.messages)}" if outcome.messages else ""
            raise CheckFailed(
                f"ncnn does not load the repaired {loaded.files[NCNN_PARAM].name}: {outcome.reason}{said}"
            )
        if isinstance(outcome, NotRunning):
            raise _DoesNotRun(f"the repaired network loads, and ncnn does not run it: {outcome.reason}")
        if isinstance(outcome, Unavailable):
            raise CheckFailed(f"ncnn could not be asked whether it loads the result: {outcome.reason}")
        return outcome.trailing


def _plan_trial(loaded: LoadedConversion, analysis: Analysis) -> Trial | None:
    """How to run a network whose operators were lowered, or that was ended earlier; None for others."""
    if not analysis.ends and (analysis.plan is None or not analysis.plan.is_lowered):
        return None
    from pnnxfix.pipeline.trial import plan_trial

    return plan_trial(loaded, analysis.ends)


def _insert(change: Change) -> Callable[[BinaryIO], None]:
    """Writes a file with bytes inserted among its own, without holding it in memory."""

    def write(target: BinaryIO) -> None:
        import shutil

        with open(change.path, "rb") as source:
            for position, data in change.inserted:
                while source.tell() < position and (
                    piece := source.read(min(position - source.tell(), _PIECE))
                ):
                    target.write(piece)
                target.write(data)
            shutil.copyfileobj(source, target)

    return write


def _report(conversion: Conversion, loaded: LoadedConversion, analysis: Analysis) -> ConversionReport:
    problems = list(loaded.problems)
    if analysis.plan is not None:
        problems.extend(analysis.plan.problems)
    return ConversionReport(
        conversion.stem, findings=analysis.findings, problems=problems, notes=[*analysis.notes, *loaded.notes]
    )


def _recover(directories: set[Path], report: Report) -> bool:
    """Finish or undo interrupted repairs; whether there was one."""
    found = False
    for directory in sorted(directories):
        if not pending(_listing(directory)):
            continue
        from pnnxfix.pipeline.recovery import recover

        try:
            recover(directory)
            found = True
        except PnnxfixError as error:
            report.problems.append(Problem(directory, str(error)))
    return found


def _listing(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


@contextmanager
def _without_collector() -> Iterator[None]:
    """Millions of small lists and no cycle among them: the collector would only walk them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
