"""A folder in which a conversion is made, repaired and compared before any of its files appears."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pnnxfix.conversion.arguments import OUTPUTS, Arguments
from pnnxfix.errors import PnnxfixError

LOG = "pnnx.log"
_LEAST_FREE = 1 << 16
"""Bytes; pnnx does not notice when a disk is full, and ends with exit code 0."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One folder: `folder`/<name of each output>, beside the place where they belong."""

    folder: Path
    arguments: Arguments

    def path(self, key: str) -> Path:
        """Where an output of pnnx is while it is staged."""
        return self.folder / os.path.basename(self.arguments.spelled[key])

    @property
    def log(self) -> Path:
        return self.folder / LOG

    @property
    def command(self) -> list[str]:
        """pnnx's arguments, to be run in this folder."""
        options = {key: value for key, value in self.arguments.options.items() if key not in OUTPUTS}
        for key in ("input", "input2", "customop"):
            if key in options:
                options[key] = ",".join(os.path.abspath(path) for path in options[key].split(","))
        outputs = {key: self.path(key).name for key in OUTPUTS}
        words = [f"{key}={value}" for key, value in {**options, **outputs}.items()]
        return [self.arguments.model.name, *words]

    def missing(self) -> list[str]:
        """The files that pnnx should have written and has not; .onnx is not always there."""
        return [self.path(key).name for key in OUTPUTS if key != "pnnxonnx" and not self.path(key).exists()]

    def say_as_given(self, text: str) -> str:
        """`text` with the paths of staged files replaced by those where they will be."""
        for key, final in self.arguments.spelled.items():
            text = text.replace(str(self.path(key)), final)
        text = text.replace(str(self.log), str(self.arguments.log))
        stem = self.arguments.stem
        text = text.replace(str(self.folder / stem.name), str(stem))
        return text.replace(str(self.folder), str(stem.parent))

    def embed_paths(self) -> None:
        """Give the generated Python the paths that pnnx would have written there."""
        places = {self.path(key).name: path for key, path in self.arguments.spelled.items()}
        names = "|".join(re.escape(name) for name in sorted(places, key=len, reverse=True))
        pattern = re.compile(rf"""(["'])({names})(\.pt|\.onnx)?\1""")
        for key in ("pnnxpy", "ncnnpy"):
            path = self.path(key)
            text = path.read_bytes().decode("utf-8", "surrogateescape")
            text = pattern.sub(lambda m: f"{m[1]}{places[m[2]]}{m[3] or ''}{m[1]}", text)
            path.write_bytes(text.encode("utf-8", "surrogateescape"))


def check_outputs(arguments: Arguments) -> None:
    """Raises PnnxfixError where an output cannot be written, or two would be one file."""
    places = [os.path.abspath(path) for path in arguments.spelled.values()]
    names = [os.path.basename(path) for path in places]
    if len(set(names)) < len(names):
        raise PnnxfixError("two of the output files have the same name; give each its own")
    for path in places:
        folder = os.path.dirname(path)
        if not os.path.isdir(folder):
            raise PnnxfixError(f"{folder}: there is no such directory; make it first")
        if os.path.isdir(path):
            raise PnnxfixError(f"{path}: is a directory")
        if os.path.exists(path) and not os.path.isfile(path):
            raise PnnxfixError(f"{path}: is there, and is no file")
        if not os.access(folder, os.W_OK):
            raise PnnxfixError(f"{folder}: cannot be written")


@contextmanager
def open_stage(arguments: Arguments, model: Path | None = None) -> Iterator[Stage]:
    """A stage with the model in it (`model`, or that of the arguments); the folder goes at the end.

    Raises PnnxfixError where the folder cannot be made.
    """
    parent = os.path.dirname(os.path.abspath(arguments.spelled["ncnnparam"]))
    try:
        folder = Path(tempfile.mkdtemp(prefix=".pnnxfix-", dir=parent))
    except OSError as error:
        raise PnnxfixError(f"{parent}: cannot be written: {error.strerror}") from error
    try:
        link = folder / arguments.model.name
        source = os.path.abspath(model or arguments.model)
        try:
            os.symlink(source, link)
        except OSError:
            shutil.copyfile(source, link)
        yield Stage(folder, arguments)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise PnnxfixError(f"{parent}: the disk is full; nothing was written") from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_written(stage: Stage) -> None:
    """Raises PnnxfixError where the disk filled up while pnnx wrote: it does not notice."""
    from zipfile import BadZipFile, ZipFile

    reason = ""
    if shutil.disk_usage(stage.folder).free < _LEAST_FREE:
        reason = "the disk is full"
    else:
        try:
            ZipFile(stage.path("pnnxbin")).close()
        except (BadZipFile, OSError, ValueError):
            reason = f"pnnx wrote {stage.path('pnnxbin').name} only in part; is the disk full?"
    if reason:
        raise PnnxfixError(f"{stage.arguments.stem.parent}: {reason}; nothing was written")


def publish(stage: Stage, others: Sequence[tuple[Path, Path]] = ()) -> list[Path]:
    """Move all files to where they belong, ncnn's graph last; gives their places.

    `others` are further files and where they go. Each file appears whole; the ncnn graph, by which
    the conversion is known, appears when the rest is there.
    """
    keys = sorted(OUTPUTS, key=lambda key: key == "ncnnparam")
    moves = [*others, (stage.log, stage.arguments.log)]
    moves += [(stage.path(key), Path(stage.arguments.spelled[key])) for key in keys]
    return _move([(source, target) for source, target in moves if source.exists()])


def _move(moves: Sequence[tuple[Path, Path]]) -> list[Path]:
    """Bring every file beside its place first: what is on another disk can still fail to be copied."""
    near = [target.with_name(f".{target.name}.pnnxfix-new") for _, target in moves]
    try:
        for (source, _), beside in zip(moves, near, strict=True):
            shutil.move(source, beside)
    except OSError:
        for beside in near:
            beside.unlink(missing_ok=True)
        raise
    for (_, target), beside in zip(moves, near, strict=True):
        os.replace(beside, target)
    return [target for _, target in moves]


def publish_log(stage: Stage) -> list[Path]:
    """Move the log alone: what a dead run left is no conversion."""
    return _move([(stage.log, stage.arguments.log)])
