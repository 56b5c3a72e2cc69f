"""A corpus on disk: one folder per conversion.

`model.pt` (TorchScript), `io.pt` (`in`: the inputs, `out`: PyTorch's outputs), all that pnnx wrote for
stem `model`, `pnnx.log`, and `done`, an empty file that comes last. Folders that `scripts.coverage` made
also hold `case.json`: how long pnnx took, how it ended, or why there is no conversion.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """What `case.json` says.

    `seconds` is pnnx's own time, `skipped` why the operator was never given to it, `failure` why it failed.
    """

    seconds: float = 0.0
    skipped: str = ""
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One folder of a corpus."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def script(self) -> Path:
        return self.folder / "model.pt"

    @property
    def python(self) -> Path:
        return self.folder / "model_pnnx.py"

    @property
    def ncnn_param(self) -> Path:
        return self.folder / "model.ncnn.param"

    @property
    def ncnn_bin(self) -> Path:
        return self.folder / "model.ncnn.bin"

    @property
    def ncnn_script(self) -> Path:
        return self.folder / "model_ncnn.py"

    @property
    def has_half_weights(self) -> bool:
        """Whether pnnx cut weights down to half floats, which it does unless it is told not to."""
        log = self.folder / "pnnx.log"
        return not (log.exists() and b"fp16 = 0" in log.read_bytes()[:1000])

    @property
    def is_done(self) -> bool:
        return (self.folder / "done").exists()

    def load_tensors(self) -> tuple[list[Any], list[Any]]:
        """Inputs and PyTorch's outputs."""
        import torch

        stored = torch.load(self.folder / "io.pt", weights_only=True)
        return list(stored["in"]), list(stored["out"])

    def read_record(self) -> Record:
        """What is known about the conversion; what the log says where there is no `case.json`."""
        path = self.folder / "case.json"
        if path.exists():
            return Record(**json.loads(path.read_text(encoding="utf-8")))
        return Record() if self.python.exists() else Record(failure=self.read_last_stage())

    def read_last_stage(self) -> str:
        """How far pnnx came, by its log."""
        log = self.folder / "pnnx.log"
        stages = re.findall(rb"pass_(?:level\d|ncnn)", log.read_bytes()) if log.exists() else []
        return f"pnnx ended in {stages[-1].decode()}" if stages else "pnnx ended before its first pass"

    def finish(self, record: Record) -> None:
        """Write `case.json`, and `done` after it."""
        text = json.dumps(asdict(record), indent=1, sort_keys=True)
        (self.folder / "case.json").write_text(text + "\n", encoding="utf-8")
        (self.folder / "done").touch()


def find_cases(corpus: Path, only: str = "") -> list[Case]:
    """The finished cases whose names match, sorted by name."""
    if not corpus.is_dir():
        raise SystemExit(f"{corpus} is no folder")
    cases = (Case(folder) for folder in sorted(corpus.iterdir()) if folder.is_dir())
    return [case for case in cases if case.is_done and re.search(only, case.name)]


def digest(case: Case) -> str:
    """A hash over the names and bytes of all files of a case."""
    total = hashlib.sha256()
    for path in _files(case.folder):
        total.update(path.relative_to(case.folder).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
