"""The stored conversions, and repaired copies of them that tests share."""

from __future__ import annotations

import functools
import re
import runpy
import shutil
from dataclasses import dataclass
from pathlib import Path

from pnnxfix.options import Options, Style
from pnnxfix.pipeline.run import fix_paths
from pnnxfix.report import Report
from pnnxfix.rules.cases import RELEASES, Case, Clean, Refused

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"

FAMILY = {"aten::clamp_min": "PNX101", "aten::clamp_max": "PNX102", "torch.clamp": "PNX103"}
"""The codes of the clamp family by the type of the row."""

STRANGERS = ("aten::digamma", "aten::mode", "aten::special_zeta")
"""Operators beside the clamps that no rule lowers for ncnn: their rows stay."""


@dataclass(frozen=True, eq=False)
class Stored:
    """One conversion by a real pnnx, with the case that it was made from."""

    release: str
    case: Case

    @property
    def id(self) -> str:
        return f"{self.release}-{self.case.id}"

    @property
    def folder(self) -> Path:
        return FIXTURES / self.release / self.case.id

    @property
    def native(self) -> Path:
        """The folder of the graphs that pnnx itself makes of the case's twin."""
        return FIXTURES / "native" / self.release / self.case.id

    @property
    def stem(self) -> str:
        return self.case.stem.replace("-", "_")

    @property
    def is_clean(self) -> bool:
        return isinstance(self.case, Clean)

    @property
    def is_refused(self) -> bool:
        return isinstance(self.case, Refused)

    @property
    def stranger(self) -> str:
        """The operator that stays in the ncnn graph beside the repaired ones, or nothing."""
        types = {row.split()[0] for row in self.text(".ncnn.param").splitlines()[2:]}
        return next((kind for kind in STRANGERS if kind in types), "")

    @property
    def has_wide_input(self) -> bool:
        """Whether the script feeds five axes and no batch, more than a blob has."""
        script = self.text("_ncnn.py")
        return "batch_index=233" in script and re.search(r"torch\.rand\((\d+, ){5}", script) is not None

    def text(self, suffix: str) -> str:
        """A file of the conversion by the end of its name (`_pnnx.py`)."""
        return (self.folder / f"{self.stem}{suffix}").read_text()

    def copy(self, target: Path) -> Path:
        """Copies all files, without what an import may have left beside them."""
        return Path(shutil.copytree(self.folder, target, ignore=shutil.ignore_patterns("__pycache__")))


@dataclass(frozen=True)
class Repaired:
    """A copy of a stored conversion after `fix`, for reading only."""

    stored: Stored
    folder: Path
    report: Report

    def text(self, suffix: str) -> str:
        return (self.folder / f"{self.stored.stem}{suffix}").read_text()


def _load() -> list[Stored]:
    cases: list[Case] = runpy.run_path(str(FIXTURES / "networks.py"))["CASES"]
    return [Stored(release, case) for release in RELEASES for case in cases if release in case.releases]


STORED = _load()
LEAKED = [stored for stored in STORED if not stored.is_clean]
REFUSED = [stored for stored in STORED if stored.is_refused]
REPAIRED = [stored for stored in LEAKED if not stored.is_refused]
RUNNABLE = [stored for stored in REPAIRED if not stored.stranger]
"""Those that ncnn runs after the repair."""


def find_stored(release: str, case: str) -> Stored:
    return next(stored for stored in STORED if stored.release == release and stored.case.id == case)


def fix_folder(folder: Path, **options: object) -> Report:
    """`fix` without the load check, which would start a child process each time; others run ncnn."""
    return fix_paths([folder], Options(load_check=False, **options))  # type: ignore[arg-type]


def repair(stored: Stored, base: Path, style: Style = "operator") -> Repaired:
    """A repaired copy below `base`, made once."""
    return _repair_once(stored, base, style)


@functools.cache
def _repair_once(stored: Stored, base: Path, style: Style) -> Repaired:
    folder = stored.copy(base / style / stored.id)
    return Repaired(stored, folder, fix_folder(folder, style=style))


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file of a folder with its bytes."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def stamps(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of a folder with its bytes and its time of change in nanoseconds."""
    return {name: (data, (folder / name).stat().st_mtime_ns) for name, data in snapshot(folder).items()}
