"""What `convert` tells: each way that was tried, which one was kept, and whether it works."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pnnxfix.conversion.blame import Culprit
from pnnxfix.conversion.explain import Explanation
from pnnxfix.conversion.judge import Judged
from pnnxfix.conversion.pnnx import Run
from pnnxfix.report import Change, ConversionReport

Way = Literal["as given", "prepared"]


@dataclass(slots=True)
class Attempt:
    """One way from the model to ncnn.

    `rewritten` says how often each operator was rewritten before pnnx ran. `culprit` is the operator of
    which pnnx died, None if it lived; `report` is what `fix` did and left; `judged` None if there was
    nothing to compare. `seconds` are those of pnnx, of the repair, and of the comparison.
    """

    way: Way
    run: Run
    rewritten: dict[str, int] = field(default_factory=dict)
    culprit: Culprit | None = None
    report: ConversionReport | None = None
    judged: Judged | None = None
    explanations: list[Explanation] = field(default_factory=list)
    seconds: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def works(self) -> bool:
        return self.judged is not None and self.judged.agrees

    @property
    def died(self) -> bool:
        return self.culprit is not None

    @property
    def milliseconds(self) -> float:
        return self.judged.milliseconds if self.judged is not None else 0.0


@dataclass(slots=True)
class ConvertReport:
    """The outcome of one `convert`. `kept` is the attempt whose files were written, None for none."""

    model: Path
    stem: Path
    versions: dict[str, str]
    known_bad: list[str]
    attempts: list[Attempt] = field(default_factory=list)
    kept: Attempt | None = None
    reason: str = ""
    written: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def works(self) -> bool:
        """Whether an ncnn model was written that gives PyTorch's numbers."""
        return self.kept is not None and self.kept.works

    @property
    def changes(self) -> list[Change]:
        return self.kept.report.changes if self.kept is not None and self.kept.report is not None else []

    @property
    def exit_code(self) -> int:
        """0 a working, agreeing model; 1 none; 2 something that could not be read, run or compared."""
        if self.works:
            return 0
        attempt = self.kept
        if attempt is None or attempt.report is None:
            return 1
        ncnn = attempt.judged.find("ncnn") if attempt.judged is not None else None
        compared = ncnn is not None and ncnn.state in ("differs", "fails")
        return 1 if attempt.report.findings or compared else 2
