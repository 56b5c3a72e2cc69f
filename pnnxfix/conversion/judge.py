"""Whether what pnnx made agrees with the model, and how long an inference takes in ncnn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pnnxfix.errors import PnnxfixError
from pnnxfix.pipeline.discovery import Conversion
from pnnxfix.verify.outcome import NO_REFERENCE, FormReport, Measure, Verdict
from pnnxfix.verify.process import Child, ChildFailed, Limits
from pnnxfix.verify.run import verify_conversion
from pnnxfix.verify.settings import Settings
from pnnxfix.verify.subject import read_subject

_TIMER = Path(__file__).with_name("programs") / "time_ncnn.py"
_TIMED_SECONDS = 0.3

State = Literal["agrees", "differs", "fails", "unknown"]
"""`fails`: a form does not load or run. `unknown`: there was nothing to compare with."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One form of the model, `ncnn` or `python`, beside PyTorch's numbers."""

    form: str
    state: State
    message: str


@dataclass(frozen=True, slots=True)
class Judged:
    """Both forms, and ncnn's time for one inference in milliseconds, 0 where it does not run."""

    forms: tuple[Judgement, ...]
    milliseconds: float = 0.0
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether the ncnn model works and gives PyTorch's numbers."""
        return any(one.form == "ncnn" and one.state == "agrees" for one in self.forms)

    def find(self, form: str) -> Judgement | None:
        return next((one for one in self.forms if one.form == form), None)


def judge(conversion: Conversion, reference: Path, limits: Limits) -> Judged:
    """Compare the conversion with the TorchScript model `reference`. Runs both in child processes."""
    settings = Settings(reference=reference.resolve(), limits=limits)
    verdict = verify_conversion(conversion, settings)
    forms = tuple(_describe(form) for form in verdict.forms if form.form in ("ncnn", "python"))
    judged = Judged(forms, 0.0, tuple(verdict.notes), _find_problems(verdict))
    if not judged.agrees:
        return judged
    return Judged(forms, _measure_time(conversion, limits), judged.notes, judged.problems)


def _find_problems(verdict: Verdict) -> tuple[str, ...]:
    return tuple(problem.message for problem in verdict.problems)


def _describe(form: FormReport) -> Judgement:
    worst = form.worst
    if form.state == "agrees":
        return Judgement(form.form, "agrees", _say(worst, form.weights) if worst else "")
    if form.measures and all(one.passed or _is_number(one) for one in form.measures):
        return Judgement(form.form, "agrees", "a single number comes as a tensor of one element")
    if worst is None:
        said = f" ({form.messages[-1]})" if form.messages else ""
        state: State = "unknown" if form.reason in ("", NO_REFERENCE) else "fails"
        return Judgement(form.form, state, form.reason + said)
    return Judgement(form.form, "differs", form.reason or _say(worst, form.weights))


def _is_number(one: Measure) -> bool:
    """Whether only the shape differs, and only because ncnn has no tensors without axes."""
    return one.batch_axis_only and one.shapes == ((), (1,))


def _say(worst: Measure, weights: str) -> str:
    if worst.shape_differs:
        return f"{worst.output} has shape {worst.shapes[1]}, want {worst.shapes[0]}"
    stored = f", {weights} weights" if weights else ""
    return f"{worst.output} differs by {worst.max_abs:.2g} at most ({worst.needed:.2g} relative{stored})"


def _measure_time(conversion: Conversion, limits: Limits) -> float:
    try:
        subject = read_subject(conversion)
    except PnnxfixError:
        return 0.0
    param, weights = subject.files.get("ncnn.param"), subject.files.get("ncnn.bin")
    if param is None or weights is None:
        return 0.0
    inputs = [
        {"blob": one.blob, "shape": list(one.shape), "dtype": one.dtype, "batch": one.batch_axis}
        for one in subject.inputs
    ]
    child = Child(str(_TIMER), limits)
    try:
        answer = child.ask(
            "measure", param=str(param.resolve()), bin=str(weights.resolve()), inputs=inputs,
            seconds=_TIMED_SECONDS,
        )  # fmt: skip
    except ChildFailed:
        return 0.0
    finally:
        child.close()
    return float(answer["milliseconds"])
