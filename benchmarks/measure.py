"""Times whole processes: one after the other in turn, so that the machine's noise meets all alike."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KILOBYTES = 1 if os.uname().sysname == "Darwin" else 1024
"""What `ru_maxrss` counts in, in bytes."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A program that takes part. `prepare` runs before each run of it and is not timed.

    With `inner` the program prints the seconds that count as its last line, and perhaps behind them those
    of the processor; else the whole process does.
    """

    command: Sequence[str]
    prepare: Callable[[], object] | None = None
    inner: bool = False
    codes: frozenset[int] = frozenset({0})


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of each run, on the wall and of the processor, and the largest resident set in bytes.

    Linux counts what this process held when it started the program, so `peak` is never below that, some
    20 MB; therefore nothing large is imported or kept here.
    """

    wall: tuple[float, ...]
    cpu: tuple[float, ...]
    peak: int

    @property
    def best(self) -> float:
        return min(self.wall)

    @property
    def median(self) -> float:
        return statistics.median(self.wall)


def race(contenders: Mapping[str, Contender], rounds: int, warm_up: bool = True) -> dict[str, Timing]:
    """Run each contender `rounds` times in turn, after one run that warms caches and compiles bytecode."""
    if warm_up:
        for contender in contenders.values():
            _run(contender)
    runs: dict[str, list[tuple[float, float, int]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            runs[name].append(_run(contender))
    return {
        name: Timing(tuple(r[0] for r in found), tuple(r[1] for r in found), max(r[2] for r in found))
        for name, found in runs.items()
    }


def make_environment() -> dict[str, str]:
    """What every program runs in: bytecode is kept, output is buffered, libraries use one thread."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def _run(contender: Contender) -> tuple[float, float, int]:
    if contender.prepare is not None:
        contender.prepare()
    start = time.perf_counter()
    # Files, not pipes: a full pipe would make the program wait for this one.
    with open(os.devnull, "w") as null:
        process = subprocess.Popen(
            contender.command,
            stdout=subprocess.PIPE if contender.inner else null,
            stderr=null,
            env=make_environment(),
        )
        said = process.stdout.read() if process.stdout is not None else b""
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.stdout is not None:
        process.stdout.close()
    if process.returncode not in contender.codes:
        raise RuntimeError(f"{' '.join(contender.command)} ends with {process.returncode}")
    cpu = usage.ru_utime + usage.ru_stime
    if contender.inner:
        wall, *counted = map(float, said.splitlines()[-1].split())
        cpu = counted[0] if counted else cpu
    return wall, cpu, usage.ru_maxrss * KILOBYTES
