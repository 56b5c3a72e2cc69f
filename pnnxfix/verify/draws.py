"""The inputs that all forms of a model are run on."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pnnxfix.errors import PnnxfixError
from pnnxfix.verify.inputs import Input, guess_axis

Array = npt.NDArray[Any]

ORDINARY = 3
"""Random draws besides that of the generated scripts."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One set of inputs, in the order of `forward`; `strict` as `compare.measure` takes it."""

    name: str
    arrays: tuple[Array, ...]
    strict: bool = True


def make_draws(inputs: Sequence[Input], count: int = ORDINARY) -> list[Draw]:
    """The input of the generated scripts, `count` random ones, and zeros, negatives, large numbers."""
    draws = [Draw("script", _draw_as_script(inputs))]
    random = np.random.RandomState(1)
    for at in range(count):
        draws.append(Draw(f"random {at + 1}", tuple(_make(i, random, 1.0) for i in inputs)))
    draws.append(Draw("zeros", tuple(np.zeros(i.shape, i.dtype) for i in inputs), strict=False))
    if any(not one.is_integer for one in inputs):
        draws.append(Draw("negative", tuple(_make_negative(i, random) for i in inputs), strict=False))
        draws.append(Draw("large", tuple(_make(i, random, 100.0) for i in inputs), strict=False))
    return draws


def _make(one: Input, random: np.random.RandomState, scale: float) -> Array:
    if one.dtype == "bool":
        return np.asarray(random.rand(*one.shape) < 0.5)
    if one.is_integer:
        return np.asarray(random.randint(0, one.below, one.shape)).astype(one.dtype)
    # Not from 0 to 1, as the scripts do it: that meets one side of every ReLU.
    return np.asarray(random.standard_normal(one.shape) * scale).astype(one.dtype)


def _make_negative(one: Input, random: np.random.RandomState) -> Array:
    array = _make(one, random, 1.0)
    return array if one.is_integer else -np.abs(array)


def _draw_as_script(inputs: Sequence[Input]) -> tuple[Array, ...]:
    """What `torch.manual_seed(0)` and torch.rand or randint give one after another.

    Both are a Mersenne Twister; torch.rand takes the low 24 bits of a word, randint its remainder.
    """
    random = np.random.RandomState(0)
    arrays = []
    for one in inputs:
        count = math.prod(one.shape)
        words = np.frombuffer(random.bytes(4 * count), np.uint32)
        if one.is_integer:
            array = words % np.uint32(min(10, one.below) if one.dtype != "bool" else 2)
        else:
            array = (words & np.uint32(0xFFFFFF)) * np.float32(2.0**-24)
        arrays.append(array.reshape(one.shape).astype(one.dtype))
    return tuple(arrays)


def read_given(inputs: Sequence[Input], given: Mapping[str, Path]) -> Draw:
    """The user's inputs. Raises PnnxfixError for a wrong name, shape or dtype, or an unreadable file."""
    names = [one.blob for one in inputs]
    for name in given:
        if name not in names:
            raise PnnxfixError(
                f"--input {name}: the model has no such input; it has {', '.join(names) or 'none'}"
            )
    missing = [name for name in names if name not in given]
    if missing:
        raise PnnxfixError(f"--input: {', '.join(missing)} has no value; give all inputs or none")
    return Draw("given", tuple(check(one, load_array(given[one.blob])) for one in inputs))


def learn_inputs(names: Sequence[str], arrays: Mapping[str, Array]) -> list[Input]:
    """The inputs as the given arrays have them, where no file tells; none where one of them is missing."""
    if not all(name in arrays for name in names):
        return []
    kinds = {name: "float32" if arrays[name].dtype.kind == "f" else arrays[name].dtype.name for name in names}
    return [Input(name, a := arrays[name].shape, kinds[name], guess_axis(a)) for name in names]


def check(one: Input, array: Array) -> Array:
    """The array in the dtype of the input. Raises PnnxfixError where it does not fit."""
    if not one.accepts(array.shape):
        raise PnnxfixError(f"{one.blob} must have shape {one.described}, and the given one has {array.shape}")
    if array.dtype.kind not in "fiub" or (one.is_integer and array.dtype.kind == "f"):
        raise PnnxfixError(f"{one.blob} must hold {one.dtype}, and the given one holds {array.dtype}")
    if one.is_integer and one.dtype != "bool" and array.size and (array.min() < 0 or array.max() >= 2**31):
        raise PnnxfixError(f"{one.blob} holds integers that are negative or beyond 32 bits")
    return array.astype(one.dtype)


def load_array(path: Path) -> Array:
    array = _load(path, ".npy")
    if not isinstance(array, np.ndarray):
        raise PnnxfixError(f"{path}: holds several arrays; give a .npy file")
    return array


def load_archive(path: Path) -> dict[str, Array]:
    """The arrays of an .npz file: `in0`..., `out0`.... Raises PnnxfixError."""
    import zipfile

    archive = _load(path, ".npz")
    if isinstance(archive, np.ndarray):
        raise PnnxfixError(f"{path}: holds one array; `--outputs` takes an .npz with out0, out1, ...")
    try:
        with archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise PnnxfixError(f"{path}: is no .npz file ({error})") from None


def _load(path: Path, kind: str) -> Any:
    import zipfile

    try:
        return np.load(os.fspath(path), allow_pickle=False)
    except OSError as error:
        raise PnnxfixError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise PnnxfixError(f"{path}: is no {kind} file ({error})") from None
