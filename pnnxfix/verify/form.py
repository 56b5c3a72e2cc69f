"""One form of a model that runs: a child process with the model in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pnnxfix.codecs.ncnn_script import NO_BATCH
from pnnxfix.verify.process import DIED, Child, ChildFailed, Limits
from pnnxfix.verify.signature import Record, read_records
from pnnxfix.verify.subject import Subject

Array = npt.NDArray[Any]


class Form:
    """A model in a process; `start` is kept apart from `load`, so that processes start side by side."""

    name = ""
    program = ""

    def __init__(self, limits: Limits, folder: Path) -> None:
        self._limits = limits
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self._child = Child(self.program, limits)
        self.runtime = ""

    def load(self) -> None:
        raise NotImplementedError

    def run(self, paths: list[str]) -> dict[str, Array]:
        raise NotImplementedError

    def trace(self, paths: list[str], wanted: list[str]) -> list[Record]:
        """The signatures of all values on the way, or, of those `wanted`, whole arrays in `folder`."""
        raise NotImplementedError

    def restart(self) -> None:
        """A new process in place of one that died."""
        self._child.close()
        self._child = Child(self.program, self._limits)
        self.load()

    def messages(self) -> tuple[str, ...]:
        """What the runtime has printed since this was asked last."""
        return self._child.take_messages()

    def close(self) -> None:
        self._child.close()

    def fetched(self, key: str) -> Array | None:
        path = self.folder / f"{key}.npy"
        return np.load(path) if path.exists() else None

    def _outputs(self, names: list[str]) -> dict[str, Array]:
        return {name: np.load(self.folder / f"{name}.npy") for name in names}


class TorchForm(Form):
    """A TorchScript file, or a generated `_pnnx.py` with its weights."""

    program = "run_torch.py"

    def __init__(
        self, limits: Limits, folder: Path, path: Path, bin: Path | None, rounding: str = ""
    ) -> None:
        self.path, self.bin, self.rounding = path, bin, rounding
        super().__init__(limits, folder)
        self.name = "torchscript" if bin is None else "python"

    def load(self) -> None:
        path = str(self.path.resolve())
        if self.bin is None:
            self._child.ask("load_torchscript", path=path)
        else:
            self._child.ask("load_python", path=path, bin=str(self.bin.resolve()))
        self.runtime = self._child.runtime

    def run(self, paths: list[str]) -> dict[str, Array]:
        answer = self._child.ask("run", inputs=paths, folder=str(self.folder), names=[])
        return self._outputs(answer["outputs"])

    def trace(self, paths: list[str], wanted: list[str], rounds: bool = False) -> list[Record]:
        half = self.rounding if rounds else ""
        self._child.ask("trace", inputs=paths, folder=str(self.folder), wanted=wanted, half=half)
        return [] if wanted else read_records(self.folder)


class NcnnForm(Form):
    """The ncnn model; inputs become blobs as the generated script has it."""

    name = "ncnn"
    program = "run_ncnn.py"

    def __init__(self, limits: Limits, folder: Path, subject: Subject, param: Path, bin: Path) -> None:
        super().__init__(limits, folder)
        self.become(subject, param, bin)

    def become(self, subject: Subject, param: Path, bin: Path) -> None:
        """Stand for another model from the next `load` on."""
        self._subject, self._param, self._bin = subject, param, bin
        self.died_at = ""
        assert subject.ncnn is not None
        graph = subject.ncnn.graph
        made = [name for handle in graph for name in graph[handle].outputs]
        self.outputs = sorted(
            (n for n in made if n[:3] == "out" and n[3:].isdigit()), key=lambda n: int(n[3:])
        )
        # Copies by a Split hold nothing new, and an integer constant no number that ncnn could show.
        self.blobs = [
            name for handle in graph if graph[handle].type != "Split" for name in graph[handle].outputs
        ]

    def load(self) -> None:
        known = self._child.ask("load", param=str(self._param.resolve()), bin=str(self._bin.resolve()))
        self.runtime = self._child.runtime
        fed = [one.blob for one in self._subject.inputs]
        unfed = [name for name in known["inputs"] if name not in fed]
        if unfed:  # ncnn would go on with whatever lies in memory
            raise ChildFailed(f"nothing is known about input {', '.join(unfed)} of the ncnn model")

    def run(self, paths: list[str]) -> dict[str, Array]:
        axes = {name: self._axis(name) for name in self.outputs}
        answer = self._child.ask("run", inputs=self._feeds(paths), outputs=axes, folder=str(self.folder))
        return self._outputs(answer["outputs"])

    def trace(self, paths: list[str], wanted: list[str]) -> list[Record]:
        request = {
            "inputs": self._feeds(paths),
            "blobs": self.blobs,
            "folder": str(self.folder),
            "wanted": wanted,
        }
        try:
            self._child.ask("trace", **request)
        except ChildFailed as error:
            at = self.folder / "at"
            self.died_at = at.read_text() if DIED in error.reason and at.exists() else ""
            raise
        return [] if wanted else read_records(self.folder)

    def recorded(self) -> list[Record]:
        """What the last trace had written when the process died."""
        return read_records(self.folder)

    def _axis(self, output: str) -> int:
        known = self._subject.output_axes
        if output in known:
            return known[output]
        return self._subject.inputs[0].batch_axis if self._subject.inputs else NO_BATCH

    def _feeds(self, paths: list[str]) -> list[Mapping[str, Any]]:
        assert self._subject.ncnn is not None
        made = {n for h in self._subject.ncnn.graph for n in self._subject.ncnn.graph[h].outputs}
        return [
            {"blob": one.blob, "path": path, "batch": one.batch_axis}
            for one, path in zip(self._subject.inputs, paths, strict=True)
            if one.blob in made
        ]
