"""The memory of a program and all that it starts. Linux only: it is read from /proc."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from measure import make_environment

INTERVAL = 0.005


@dataclass(frozen=True, slots=True)
class Memory:
    """What was measured in bytes, what it is held against, and the largest ratio that passes."""

    what: str
    peak: int
    floor_name: str
    floor: int
    bar: float | None = None

    @property
    def ratio(self) -> float:
        return self.peak / self.floor

    @property
    def verdict(self) -> str:
        if self.bar is None:
            return "no bar"
        return "PASS" if self.ratio <= self.bar else "MISS"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "verdict": self.verdict}


def read_memory(data: dict[str, Any]) -> Memory:
    """What `to_json` wrote; ratio and verdict are computed again."""
    return Memory(**{key: value for key, value in data.items() if key not in ("ratio", "verdict")})


def find_peak(command: Sequence[str], codes: Sequence[int] = (0,)) -> int:
    """Run a program; the sum of the largest resident sets of all its processes, in bytes.

    That is never less than what they held at one time. A process that lives shorter than the interval
    between two looks is missed.
    """
    with open(os.devnull, "w") as null:
        process = subprocess.Popen(command, stdout=null, stderr=null, env=make_environment())
    peaks: dict[int, int] = {}
    while process.poll() is None:
        for pid in _find_tree(process.pid):
            peaks[pid] = max(peaks.get(pid, 0), _read_peak(pid))
        time.sleep(INTERVAL)
    if process.returncode not in codes:
        raise RuntimeError(f"{' '.join(command)} ends with {process.returncode}")
    return sum(peaks.values())


def _find_tree(root: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    # Behind the name, which may hold anything: state, then the parent.
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:  # it has ended
                continue
            parents.setdefault(parent, []).append(int(name))
    tree = [root]
    for pid in tree:
        tree.extend(parents.get(pid, ()))
    return tree


def _read_peak(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status") as file:
            return next((int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM")), 0)
    except OSError:
        return 0
