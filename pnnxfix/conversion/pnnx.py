"""The installed pnnx: where its program is, which release, and how to run it."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pnnxfix.conversion.versions import read_version
from pnnxfix.errors import PnnxfixError

_PROGRAM = "pnnx.exe" if os.name == "nt" else "pnnx"
_REMEDY = 'pip install "pnnxfix[convert]"'


@dataclass(frozen=True, slots=True)
class Pnnx:
    """The native program of a release; `release` is `20261020`, or `unknown`."""

    program: Path
    release: str


@dataclass(frozen=True, slots=True)
class Run:
    """How a run ended. `exit_code` is negative for a signal, None if it was stopped after `seconds`."""

    exit_code: int | None
    seconds: float

    @property
    def ended(self) -> str:
        """How it ended, for people."""
        if self.exit_code is None:
            return f"it gave no end within {self.seconds:.0f} s"
        if self.exit_code >= 0:
            return f"exit code {self.exit_code}"
        try:
            return signal.Signals(-self.exit_code).name
        except ValueError:
            return f"signal {-self.exit_code}"


def find_pnnx(given: Path | None = None) -> Pnnx:
    """The program at `given`, or that of the installed package. Imports neither pnnx nor PyTorch.

    Raises PnnxfixError where there is none.
    """
    if given is not None:
        program = given / _PROGRAM if given.is_dir() else given
        if not program.is_file() or not os.access(program, os.X_OK):
            raise PnnxfixError(f"{given}: no program that can be run")
        return Pnnx(program.resolve(), _find_release_beside(program))
    # Finding a top-level package does not run it.
    spec = importlib.util.find_spec("pnnx")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        program = Path(folder, _PROGRAM)
        if program.is_file():
            return Pnnx(program, read_version("pnnx"))
    raise PnnxfixError(f"pnnx is not installed; {_REMEDY}")


def _find_release_beside(program: Path) -> str:
    """The release that the package's own folder of metadata states, if the program lies in a package."""
    for found in sorted(program.resolve().parent.parent.glob("pnnx-*.dist-info")):
        return found.name.removeprefix("pnnx-").removesuffix(".dist-info")
    return "unknown"


def run_pnnx(
    pnnx: Pnnx, arguments: Sequence[str], folder: Path, log: Path, seconds: float | None = None
) -> Run:
    """Run pnnx in `folder`; what it prints goes to `log` as it comes.

    Raises PnnxfixError if it cannot be started.
    """
    started = time.monotonic()
    try:
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [str(pnnx.program), *arguments],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
    except OSError as error:
        raise PnnxfixError(f"{pnnx.program}: cannot be started: {error.strerror}") from error
    try:
        code: int | None = process.wait(seconds)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return Run(code, time.monotonic() - started)
