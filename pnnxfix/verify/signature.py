"""A value of a network in a few hundred bytes, so that thousands can be compared and none is kept.

A signature holds shape, moments, counts of nan and infinity, and a count sketch: every element goes, with
a pseudo-random sign, into one of 127 sums. The distance of two sketches estimates the distance of the
two arrays within about a tenth (Charikar, Chen, Farach-Colton, "Finding frequent items in data
streams"), and one altered element is seen exactly. Elements count in the order of the axes, so axes of
size 1, the batch among them, make no difference.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

BUCKETS = 127
# Prime to the number of buckets: elements repeat their sign and bucket only every 8.3 million.
_SIGNS = np.random.RandomState(233).choice(np.array([-1, 1], np.float32), 65521)
_STRIP = 256
_ONES = np.ones(_STRIP, np.float32)
_HUGE = 1e30
"""What a mask of -FLT_MAX holds; such elements count as infinite, or they would drown all others."""
_SMALLEST_NORMAL = np.float32(1.1754944e-38)


@dataclass(frozen=True, slots=True)
class Signature:
    """What is kept of one value. `moments` are sum, L2 norm, sum of cubes, minimum and maximum.

    `sketches` has more than one row where the place of ncnn's batch axis is not known.
    """

    shape: tuple[int, ...]
    nans: int
    infinities: tuple[int, int]
    moments: tuple[float, float, float, float, float]
    sketches: npt.NDArray[np.float64]

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def norm(self) -> float:
        return self.moments[1]


def read_numbers(array: Array) -> Array:
    """The array as floats. Integers that ncnn carries as bits in a float blob become numbers again."""
    if array.dtype.kind not in "fiub":
        return np.zeros(0, np.float32)
    is_bits = (
        array.dtype == np.float32 and array.size and not max(array.max(), -array.min()) >= _SMALLEST_NORMAL
    )
    if is_bits and not np.isnan(array).any():
        return np.ascontiguousarray(array).view(np.int32).astype(np.float32)
    return np.asarray(array, dtype=np.float32)


def sign(array: Array, batches: tuple[int, ...] = (0,)) -> Signature:
    """The signature of an array; `batches` are the places that its first axis may have in truth.

    Cost: some eight passes over the elements, most of them in BLAS.
    """
    numbers = read_numbers(array)
    lowest, highest = float(numbers.min(initial=np.inf)), float(numbers.max(initial=-np.inf))
    nans, below, above = 0, 0, 0
    if numbers.size and not (lowest > -_HUGE and highest < _HUGE):  # nan is in neither range
        finite = np.abs(numbers) < _HUGE
        nans = int(np.isnan(numbers).sum())
        below, above = int((numbers <= -_HUGE).sum()), int((numbers >= _HUGE).sum())
        numbers = np.where(finite, numbers, np.float32(0))
        lowest, highest = float(numbers.min()), float(numbers.max())
    flat = numbers.reshape(-1)
    # Beyond 1e18 a square is beyond float32; such values are rare, and worth the slower way.
    wide = flat.astype(np.float64) if numbers.size and max(highest, -lowest) > 1e12 else flat
    square = wide * wide
    moments = (
        float(wide.sum(dtype=np.float64)),
        math.sqrt(float(np.dot(wide, wide))),
        float(np.dot(square, wide)),
        lowest,
        highest,
    )
    sketches = [_sketch(np.moveaxis(numbers, 0, at) if at else numbers) for at in batches]
    return Signature(array.shape, nans, (below, above), moments, np.stack(sketches))


def _sketch(numbers: Array) -> npt.NDArray[np.float64]:
    flat = numbers.reshape(-1)
    rows = -(-flat.size // BUCKETS)
    padded = np.zeros(rows * BUCKETS, np.float32)
    np.multiply(flat, _signs(flat.size), out=padded[: flat.size])
    total = np.zeros(BUCKETS)
    table = padded.reshape(rows, BUCKETS)
    for start in range(0, rows, _STRIP):  # short sums in float32, their sum in float64
        strip = table[start : start + _STRIP]
        total += _ONES[: len(strip)] @ strip
    return total


@lru_cache(maxsize=32)
def _signs(count: int) -> Array:
    return np.resize(_SIGNS, count)


class Enough(Exception):
    """All wanted values have been seen; the rest of the network need not run."""


class Recorder:
    """Where a child process puts the values that it meets: as signatures, or whole where asked for."""

    def __init__(self, folder: Path, wanted: frozenset[str] = frozenset()) -> None:
        self._folder = folder
        self._wanted = wanted
        self._missing = set(wanted)
        self._records: IO[str] = open(folder / "records.jsonl", "w")  # noqa: SIM115
        self._sketches: IO[bytes] = open(folder / "sketches.f8", "wb")  # noqa: SIM115

    def see(self, key: str, array: Array, batches: tuple[int, ...] = (0,), **facts: Any) -> None:
        """Note one value. Flushed, because the next layer may kill the process."""
        if self._wanted:
            if key in self._wanted:
                np.save(self._folder / f"{key}.npy", read_numbers(array).reshape(array.shape))
                self._missing -= {key}
            if not self._missing:
                raise Enough
            return
        signature = sign(array, batches)
        self._sketches.write(signature.sketches.tobytes())
        self._sketches.flush()
        record = {
            **facts,
            "key": key,
            "shape": signature.shape,
            "nans": signature.nans,
            "infinities": signature.infinities,
            "moments": signature.moments,
            "sketches": len(batches),
        }
        self._records.write(json.dumps(record) + "\n")
        self._records.flush()

    def close(self) -> None:
        self._records.close()
        self._sketches.close()


@dataclass(frozen=True, slots=True)
class Record:
    """One value of a trace: its key, its signature, and what else the child said of it."""

    key: str
    signature: Signature
    facts: dict[str, Any]


def read_records(folder: Path) -> list[Record]:
    """What a recorder wrote, up to the value at which the process died."""
    sketches = np.fromfile(folder / "sketches.f8", np.float64).reshape(-1, BUCKETS)
    records: list[Record] = []
    at = 0
    with open(folder / "records.jsonl") as file:
        for line in file:
            if not line.endswith("\n"):
                break
            facts = json.loads(line)
            rows = facts.pop("sketches")
            signature = Signature(
                tuple(facts.pop("shape")),
                facts.pop("nans"),
                tuple(facts.pop("infinities")),
                tuple(facts.pop("moments")),
                sketches[at : at + rows],
            )
            at += rows
            records.append(Record(facts.pop("key"), signature, facts))
    return records
