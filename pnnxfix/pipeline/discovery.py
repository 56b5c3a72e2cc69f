"""Finds conversions: the files that pnnx wrote for one model, in one directory, by their names.

pnnx names them after the input, `net.pt` -> `net.pnnx.param`, `net.pnnx.bin`, `net_pnnx.py`,
`net.pnnx.onnx`, `net.ncnn.param`, `net.ncnn.bin`, `net_ncnn.py`, with every `-` of the name
turned into `_`. Any subset may be there.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pnnxfix.report import Problem

PNNX_PARAM = "pnnx.param"
PNNX_PY = "pnnx.py"
PNNX_ONNX = "pnnx.onnx"
NCNN_PARAM = "ncnn.param"
NCNN_BIN = "ncnn.bin"
NCNN_PY = "ncnn.py"
TORCHSCRIPT = "torchscript"
PLAIN_PARAM = "param"
"""A `.param` that does not say its flavour; its first rows do."""

_SUFFIXES = (
    (".pnnx.param", PNNX_PARAM),
    (".ncnn.param", NCNN_PARAM),
    (".ncnn.bin", NCNN_BIN),
    (".pnnx.onnx", PNNX_ONNX),
    ("_pnnx.py", PNNX_PY),
    ("_ncnn.py", NCNN_PY),
)
_TORCHSCRIPT_SUFFIXES = (".pt", ".pth", ".torchscript", ".ts", ".pt2", ".ptl", ".jit")
_REPAIRABLE = frozenset({PNNX_PARAM, NCNN_PARAM, PNNX_PY, PLAIN_PARAM})
# Early stages of a conversion that old releases drop into the working directory.
_STAGES = frozenset({"debug.param", "debug2.param"})
_PASSED_OVER = frozenset(
    {
        ".git",
        ".hg",
        ".svn",
        ".venv",
        "venv",
        "env",
        ".tox",
        ".nox",
        "node_modules",
        "__pycache__",
        "site-packages",
    }
)


@dataclass(slots=True)
class Conversion:
    """The files of one model by role, and the logs beside them. `stem` is the path they share."""

    stem: Path
    files: dict[str, Path] = field(default_factory=dict)
    logs: list[Path] = field(default_factory=list)

    @property
    def directory(self) -> Path:
        return self.stem.parent


def classify(name: str) -> tuple[str, str] | None:
    """The stem and the role of a file name, None for what no conversion consists of."""
    for suffix, role in _SUFFIXES:
        if name.endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)], role
    if name.endswith(".param") and len(name) > 6 and name not in _STAGES:
        return name[:-6], PLAIN_PARAM
    return None


def find_conversions(
    paths: Sequence[Path], exclude: Iterable[str] = ()
) -> tuple[list[Conversion], list[Problem], set[Path]]:
    """The conversions at or below the paths, in the order of their stems, and what went wrong.

    A path given by hand that holds no conversion is a Problem. The set holds the directories
    that were read.
    """
    found: dict[Path, Conversion] = {}
    problems: list[Problem] = []
    directories: set[Path] = set()
    patterns = tuple(exclude)
    for path in paths:
        if os.path.isdir(path):  # Path.is_dir raises for a name that is too long
            before, told = len(found), len(problems)
            _walk(path, patterns, found, problems, directories)
            if len(found) == before and len(problems) == told and not _holds_any(path, found):
                problems.append(
                    Problem(path, "no conversion here: no *.ncnn.param, *.pnnx.param or *_pnnx.py")
                )
        elif not os.path.lexists(path):
            problems.append(Problem(path, "no such file or directory"))
        else:
            if not any(_matches(pattern, path.name, str(path)) for pattern in patterns):
                _add_file(path, found, problems, directories)
    return [found[stem] for stem in sorted(found)], problems, directories


def _holds_any(path: Path, found: dict[Path, Conversion]) -> bool:
    return any(path == stem.parent or path in stem.parents for stem in found)


def _matches(pattern: str, name: str, path: str) -> bool:
    return fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(path, pattern)


def _walk(
    top: Path,
    patterns: tuple[str, ...],
    found: dict[Path, Conversion],
    problems: list[Problem],
    directories: set[Path],
) -> None:
    pending = [top]
    while pending:
        directory = pending.pop()
        directories.add(directory)
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except OSError as error:
            problems.append(Problem(directory, f"cannot read the directory: {error.strerror}"))
            continue
        names = []
        for entry in entries:
            if any(_matches(pattern, entry.name, entry.path) for pattern in patterns):
                continue
            if entry.is_dir(follow_symlinks=False):
                if (known := classify(entry.name)) is not None and known[1] != PLAIN_PARAM:
                    names.append(entry.name)  # in the place of a file, which reading it will tell
                if entry.name not in _PASSED_OVER and not os.path.exists(
                    os.path.join(entry.path, "pyvenv.cfg")
                ):
                    pending.append(Path(entry.path))
            else:
                names.append(entry.name)
        _group(directory, names, found)


def _add_file(
    path: Path, found: dict[Path, Conversion], problems: list[Problem], directories: set[Path]
) -> None:
    known = classify(path.name)
    if known is None:
        problems.append(
            Problem(
                path,
                "not a file of a conversion",
                "give a *.ncnn.param, *.pnnx.param, *_pnnx.py or a directory",
            )
        )
        return
    stem = path.parent / known[0]
    directories.add(path.parent)
    if stem in found and path in found[stem].files.values():
        return
    try:
        names = sorted(os.listdir(path.parent))
    except OSError as error:
        problems.append(Problem(path.parent, f"cannot read the directory: {error.strerror}"))
        return
    beside: dict[Path, Conversion] = {}
    _group(path.parent, names, beside, every=True)
    for own in (stem, stem.with_name(f"{stem.name}.param")):  # the latter: a model beside one of its name
        if own in beside and path in beside[own].files.values():
            found[own] = beside[own]


def _group(directory: Path, names: list[str], found: dict[Path, Conversion], every: bool = False) -> None:
    groups: dict[str, dict[str, Path]] = {}
    for name in names:
        known = classify(name)
        if known is not None:
            groups.setdefault(known[0], {})[known[1]] = directory / name
    for stem, files in list(groups.items()):
        if PLAIN_PARAM in files and not {NCNN_PARAM, PNNX_PARAM}.isdisjoint(files):
            groups[f"{stem}.param"] = {PLAIN_PARAM: files.pop(PLAIN_PARAM)}  # a model of its own
    for stem, files in groups.items():
        if not every and _REPAIRABLE.isdisjoint(files):
            continue
        if PLAIN_PARAM in files and f"{stem}.bin" in names:
            files.setdefault(NCNN_BIN, directory / f"{stem}.bin")
        conversion = Conversion(directory / stem, files)
        for name in names:
            base, suffix = os.path.splitext(name)
            if suffix == ".log":
                if _is_plain(directory, name):
                    conversion.logs.append(directory / name)
            elif suffix in _TORCHSCRIPT_SUFFIXES and base.replace("-", "_") == stem:
                if not _is_plain(directory, name):
                    continue
                files.setdefault(TORCHSCRIPT, directory / name)
        found[conversion.stem] = conversion


def _is_plain(directory: Path, name: str) -> bool:
    """Whether a source of values is a file; reading from a pipe in its place would not end."""
    return os.path.isfile(os.path.join(directory, name))
