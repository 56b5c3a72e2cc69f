"""What `verify` tells: measures of each output, the verdict on each form, the place of a divergence."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pnnxfix.report import Problem
from pnnxfix.verify.neighbourhood import Comparison

State = Literal["agrees", "disagrees", "not compared"]
NO_REFERENCE = "there is nothing to compare it with"
"""Why a form is not compared that may well be right."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One output of one form on one input, beside the reference's.

    `needed` is the smallest tolerance that would have passed: the largest of |a - b| / (|a| + rms(a)) over
    the elements, infinite where shapes differ or only one of a and b is finite. `worst` is where
    that is, with both values. `nonfinite` counts (nan, infinite) elements of the reference and of the form;
    `hidden` are elements that were left out because the reference is not finite there.
    `batch_axis_only`: the same numbers, if it were not for the place of the batch axis.
    """

    output: str
    input: str
    tolerance: float
    needed: float
    max_abs: float
    max_rel: float
    relative_l2: float
    cosine: float
    shapes: tuple[tuple[int, ...] | None, tuple[int, ...] | None]
    nonfinite: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    worst: tuple[tuple[int, ...], float, float] | None = None
    hidden: int = 0
    batch_axis_only: bool = False

    @property
    def passed(self) -> bool:
        return self.needed <= self.tolerance

    @property
    def shape_differs(self) -> bool:
        return self.shapes[0] != self.shapes[1]


@dataclass(frozen=True, slots=True)
class Place:
    """A line of one of the conversion's files."""

    path: Path
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """One pair on the way through both networks, with its relative error; None where none is defined."""

    reference: str
    layer: str
    error: float | None
    is_culprit: bool = False


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first operator whose inputs agree and whose output does not.

    `form` is whose operator it is. `error_in` and `error_out` are relative L2 errors of what it reads and of
    what it makes. `causes` are sentences about what is known. `steps` are the pairs in order, the
    whole way through the network.
    """

    form: str
    operator: str
    kind: str
    places: tuple[Place, ...]
    error_in: float
    error_out: float
    causes: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    measure: Measure | None = None


@dataclass(slots=True)
class FormReport:
    """One form of the model: `torchscript`, `python` or `ncnn`."""

    form: str
    path: Path
    state: State = "not compared"
    runtime: str = ""
    reason: str = ""
    messages: tuple[str, ...] = ()
    weights: str = ""
    measures: list[Measure] = field(default_factory=list)
    divergence: Divergence | None = None
    no_divergence: str = ""

    @property
    def worst(self) -> Measure | None:
        return max(self.measures, key=lambda measure: measure.needed / measure.tolerance, default=None)


@dataclass(slots=True)
class Verdict:
    """One conversion. `reference` says what the forms were compared with."""

    stem: Path
    reference: str = ""
    reference_path: Path | None = None
    forms: list[FormReport] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    drawings: list[Comparison] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 all agree, 1 one disagrees, 2 something could not be compared; 2 wins over 1."""
        if self.problems:
            return 2
        return 1 if any(form.state == "disagrees" for form in self.forms) else 0
