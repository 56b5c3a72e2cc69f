"""`verify` over conversions: runs the reference and every form on the same inputs, and compares."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from pnnxfix.errors import ParseError, PnnxfixError
from pnnxfix.pipeline.discovery import NCNN_BIN, NCNN_PARAM, PNNX_PY, Conversion, find_conversions
from pnnxfix.report import Problem
from pnnxfix.verify.compare import Array, find_rms, measure
from pnnxfix.verify.draws import Draw, check, learn_inputs, load_archive, load_array, make_draws, read_given
from pnnxfix.verify.form import Form, NcnnForm, TorchForm
from pnnxfix.verify.outcome import NO_REFERENCE, FormReport, Verdict
from pnnxfix.verify.process import DIED, LATE, ChildFailed
from pnnxfix.verify.settings import TOLERANCES, TORCH_TOLERANCE, Settings
from pnnxfix.verify.subject import Subject, find_reference, read_subject

DETERMINISTIC = 1e-5
"""What two runs of one model may differ by: the order of sums over several threads."""

NO_TORCH = "PyTorch is not installed: `pip install pnnxfix[torch]`"


def verify_paths(
    paths: Sequence[Path], settings: Settings, progress: Callable[[int, int, Path], None] | None = None
) -> tuple[list[Verdict], list[Problem]]:
    """The verdict on each conversion at the paths, and what was wrong with the paths themselves."""
    conversions, problems, _ = find_conversions(paths, settings.exclude)
    verdicts = []
    for at, conversion in enumerate(conversions):
        if progress is not None:
            progress(at, len(conversions), conversion.stem)
        verdicts.append(verify_conversion(conversion, settings))
    return verdicts, problems


def verify_conversion(
    conversion: Conversion, settings: Settings, staged: Mapping[Path, Path] | None = None
) -> Verdict:
    """The verdict on one conversion; `staged` are new contents that stand in for its files."""
    started = time.monotonic()
    verdict = Verdict(conversion.stem)
    try:
        subject = read_subject(conversion, staged)
        with tempfile.TemporaryDirectory(prefix="pnnxfix-") as folder:
            _Run(subject, settings, verdict, Path(folder)).run(conversion)
    except ParseError as error:
        verdict.problems.append(Problem(Path(error.path), error.reason, "", error.line, error.column))
    except PnnxfixError as error:
        verdict.problems.append(Problem(conversion.stem, str(error)))
    verdict.seconds = time.monotonic() - started
    return verdict


class _Run:
    """The processes of one verification and what they share."""

    def __init__(self, subject: Subject, settings: Settings, verdict: Verdict, folder: Path) -> None:
        self.subject, self.settings, self.verdict, self.folder = subject, settings, verdict, folder
        self.draws: list[Draw] = []
        self.expected: list[dict[str, Array]] = []
        self.reference: Form | None = None
        self.forms: list[tuple[Form, FormReport]] = []

    def run(self, conversion: Conversion) -> None:
        try:
            self._start(conversion)
            try:
                self._settle_reference()
            except PnnxfixError:
                for _, report in self.forms:
                    report.reason = NO_REFERENCE
                raise
            for form, report in self.forms:
                self._compare(form, report)
            if self._is_another_model():
                return
            if self.settings.bisect:
                from pnnxfix.verify.bisect import bisect

                bisect(self.subject, self.forms, self.reference, self._failing_draw, self.verdict)
        finally:
            for form, _ in self.forms:
                form.close()
            if self.reference is not None:
                self.reference.close()

    # what runs

    def _start(self, conversion: Conversion) -> None:
        subject, settings = self.subject, self.settings
        has_torch = find_spec("torch") is not None
        python, param = subject.path(PNNX_PY), subject.path(NCNN_PARAM)
        named = settings.reference
        if named is not None and not named.is_file():
            raise PnnxfixError(f"{named}: there is no such reference")
        beside = find_reference(conversion)
        limits = settings.limits
        if settings.outputs is not None:
            self.verdict.reference, self.verdict.reference_path = "stored outputs", settings.outputs
        elif named is not None and named.suffix == ".py":
            if not has_torch:
                raise PnnxfixError(f"{named} cannot be run; {NO_TORCH}, or give `--outputs FILE.npz`")
            self.reference = TorchForm(limits, self.folder / "reference", named, subject.pnnx_bin)
        elif (path := named or beside) is not None:
            if not has_torch:
                raise PnnxfixError(f"{path} cannot be run; {NO_TORCH}, or give `--outputs FILE.npz`")
            self.reference = TorchForm(limits, self.folder / "reference", path, None)
        elif python is None or param is None or not has_torch:
            why = "" if has_torch else f", and {NO_TORCH}"
            raise PnnxfixError(
                f"nothing to compare with: no TorchScript file beside it{why}; "
                "name it with `--reference`, or give stored outputs with `--outputs FILE.npz`"
            )
        else:
            self.reference = TorchForm(limits, self.folder / "reference", python, subject.pnnx_bin)
            shown = subject.files[PNNX_PY]
            reason = f"no TorchScript file: ncnn is compared with {shown.name}, which nothing proves"
            remedy = f"name the original with `--reference`, or believe this: `--reference {shown}`"
            self.verdict.problems.append(Problem(conversion.stem, reason, remedy))
        if isinstance(self.reference, TorchForm):
            self.verdict.reference_path = self.reference.path
            self.verdict.reference = self.reference.name
        same = self.reference is not None and self.verdict.reference == "python"
        if python is not None and not same:
            report = FormReport("python", subject.files[PNNX_PY])
            self.verdict.forms.append(report)
            if has_torch:
                rounding = subject.rounding
                form = TorchForm(limits, self.folder / "python", python, subject.pnnx_bin, rounding)
                self.forms.append((form, report))
            else:
                report.reason = NO_TORCH
        bin = subject.path(NCNN_BIN)
        if param is not None:
            report = FormReport("ncnn", subject.files[NCNN_PARAM], weights=subject.weights)
            self.verdict.forms.append(report)
            if bin is None:
                report.reason = "there is no .bin beside it"
                self.verdict.problems.append(Problem(report.path, f"ncnn was not compared: {report.reason}"))
            else:
                self.forms.append((NcnnForm(limits, self.folder / "ncnn", subject, param, bin), report))
        if not self.forms:
            raise PnnxfixError("no form of the model that could be compared")
        if param is not None and not subject.has_script:
            self.verdict.notes.append("no _ncnn.py: an axis of size 1 in front is taken for the batch")

    # what it is compared with

    def _settle_reference(self) -> None:
        settings, subject = self.settings, self.subject
        if settings.outputs is not None:
            stored = load_archive(settings.outputs)
            self.expected = [{name: a for name, a in stored.items() if name[:3] == "out"}]
            if not self.expected[0]:
                raise PnnxfixError(f"{settings.outputs}: holds no out0, out1, ...")
            self._learn_inputs(stored)
            if settings.inputs:
                self.draws = [read_given(subject.inputs, settings.inputs)]
            elif missing := [one.blob for one in subject.inputs if one.blob not in stored]:
                raise PnnxfixError(
                    f"{settings.outputs}: holds no {', '.join(missing)}; give it with `--input`"
                )
            else:
                self.draws = [Draw("stored", tuple(check(i, stored[i.blob]) for i in subject.inputs))]
            self._save_draws()
            return
        if not subject.inputs:
            self._learn_inputs({})
        if not subject.inputs:
            raise PnnxfixError("no file tells the shapes of the inputs: give them with `--input in0=x.npy`")
        given = bool(settings.inputs)
        self.draws = (
            [read_given(subject.inputs, settings.inputs)]
            if given
            else make_draws(subject.inputs, settings.draws)
        )
        self._save_draws()
        assert self.reference is not None
        path = self.verdict.reference_path
        try:
            self.reference.load()
        except ChildFailed as error:
            raise PnnxfixError(
                f"{path}: the reference cannot be loaded: {_tell(self.reference, error)}"
            ) from None
        try:
            self.expected.append(self.reference.run(self.paths(0)))
            again = self.reference.run(self.paths(0))
        except ChildFailed as error:
            raise PnnxfixError(
                f"{path}: the reference does not run on {_shapes(self.draws[0])}: "
                f"{_tell(self.reference, error)}"
            ) from None
        for name, array in self.expected[0].items():
            if not measure(array, again.get(name), name, "", DETERMINISTIC).passed:
                raise PnnxfixError(f"{path}: is not deterministic: two runs on one input give another {name}")
        self._run_reference_on_the_rest()

    def _learn_inputs(self, stored: Mapping[str, Array]) -> None:
        """Where no file tells of the inputs, they are as what is given."""
        if self.subject.inputs or self.subject.ncnn is None:
            return
        rows = (self.subject.ncnn.graph[handle] for handle in self.subject.ncnn.graph)
        names = [row.outputs[0] for row in rows if row.type == "Input" and row.outputs]
        given = {name: load_array(path) for name, path in self.settings.inputs.items()}
        names.sort(key=lambda name: (len(name), name))  # in2 before in10, as in forward
        self.subject.inputs = learn_inputs(names, {**stored, **given})

    def _run_reference_on_the_rest(self) -> None:
        """On all inputs but the first. One that it refuses is left out: it may be beyond its domain."""
        assert self.reference is not None
        kept, has_died = [self.draws[0]], False
        for at, draw in enumerate(self.draws[1:], 1):
            try:
                if has_died:
                    self.reference.restart()
                expected, has_died = self.reference.run(self.paths(at)), False
            except ChildFailed as error:
                if LATE in error.reason:
                    path = self.verdict.reference_path
                    why = _tell(self.reference, error)
                    raise PnnxfixError(f"{path}: the reference, input {draw.name}: {why}") from None
                self.verdict.notes.append(f"input {draw.name}: left out, the reference fails: {error.reason}")
                has_died = DIED in error.reason
            else:
                self.expected.append(expected)
                kept.append(draw)
        self.draws = kept
        self._save_draws()

    def _save_draws(self) -> None:
        for at, draw in enumerate(self.draws):
            for one, array in zip(self.subject.inputs, draw.arrays, strict=True):
                np.save(self.folder / f"{at}.{one.blob}.npy", array)

    def paths(self, at: int) -> list[str]:
        """The files of one draw, in the order of `forward`."""
        return [str(self.folder / f"{at}.{one.blob}.npy") for one in self.subject.inputs]

    # the comparison

    def _compare(self, form: Form, report: FormReport) -> None:
        tolerance = self.settings.tolerance
        if tolerance is None:
            tolerance = TOLERANCES[self.subject.weights] if form.name == "ncnn" else TORCH_TOLERANCE
        typical: dict[str, float] = {}
        for draw, expected in zip(self.draws, self.expected, strict=True):
            for name, array in expected.items() if draw.strict else ():
                typical[name] = max(typical.get(name, 0.0), find_rms(array))
        try:
            form.load()
            for at, draw in enumerate(self.draws):
                outputs = form.run(self.paths(at))
                for name in dict.fromkeys([*self.expected[at], *outputs]):
                    a, b, usual = self.expected[at].get(name), outputs.get(name), typical.get(name, 0.0)
                    report.measures.append(measure(a, b, name, draw.name, tolerance, draw.strict, usual))
        except ChildFailed as error:
            report.reason = error.reason
            report.messages = error.messages
            report.measures.clear()
            self.verdict.problems.append(
                Problem(report.path, f"could not be run: {error.reason}", _remedy(form, error))
            )
            return
        report.runtime = form.runtime
        report.messages = form.messages()
        report.state = "agrees" if all(one.passed for one in report.measures) else "disagrees"

    def _is_another_model(self) -> bool:
        """Whether the reference alone has not the outputs that the files announce; said as a problem.

        Where the values decide on a shape, the forms have not the announced one either.
        """
        announced, expected = self.subject.output_sizes, self.expected[0]
        compared = [report for _, report in self.forms if report.measures]
        if self.settings.outputs is not None or not announced or not compared:
            return False
        if [array.size for array in expected.values()] == announced:
            return False
        for report in compared:
            first = [one.shapes[1] for one in report.measures if one.input == self.draws[0].name]
            if [math.prod(shape) for shape in first if shape is not None] != announced:
                return False
        gives, have = (
            ", ".join(map(str, sizes)) for sizes in ([a.size for a in expected.values()], announced)
        )
        reason = f"is not what was converted: its outputs have {gives} elements, those of the files {have}"
        self.verdict.problems.append(Problem(self.verdict.reference_path or self.subject.stem, reason))
        return True

    def _failing_draw(self, report: FormReport) -> list[str]:
        """The input on which a form is furthest off: where everything is finite, if there is such a one."""
        failing = [one for one in report.measures if not one.passed]
        if not failing:
            return self.paths(0)
        names = [draw.name for draw in self.draws]
        strict = [one for one in failing if self.draws[names.index(one.input)].strict]
        pick = strict or failing
        return self.paths(
            names.index(max(pick, key=lambda one: one.relative_l2 if one.needed < 1e300 else 0).input)
        )


def _tell(form: Form, error: ChildFailed) -> str:
    remedy = _remedy(form, error)
    said = [*([remedy] if remedy else []), *error.messages]
    return error.reason + (f" ({'; '.join(said)})" if said else "")


def _shapes(draw: Draw) -> str:
    return ", ".join(f"{array.dtype}{list(array.shape)}" for array in draw.arrays)


def _remedy(form: Form, error: ChildFailed) -> str:
    if form.name == "python" and ("SyntaxError" in error.reason or "NameError" in error.reason):
        return "run `pnnxfix fix` first: it repairs what pnnx left behind"
    if form.name == "torchscript" and "PytorchStreamReader" in error.reason:
        return "what is wanted is TorchScript, as `torch.jit.trace(...).save(...)` writes it"
    if LATE in error.reason:
        return "`--time-limit SECONDS` gives each step more"
    if "does not load" in error.reason:
        return "run `pnnxfix check`: it names what ncnn cannot load"
    return ""
