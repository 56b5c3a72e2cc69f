"""Reads a log of pnnx as a stream: what each line means, how often it stands there, how the run ended.

Memory is bounded whatever the log: one warning can stand there 600,000 times.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pnnxfix.codecs.console import PATH_KEYS
from pnnxfix.errors import ParseError
from pnnxfix.rules.console import (
    LINE_RULES,
    BatchAxisGuess,
    ConsoleRule,
    Deprecation,
    DiedInOperator,
    DiedInside,
    UnknownLine,
)

MAX_LINE = 1 << 16
MAX_GROUPS = 10_000
"""Lines of different meaning that are kept; what comes after them is counted."""
MAX_UNKNOWN = 100
"""So many of them may be lines that no rule knows: a log can hold all that a program printed."""
_MAX_REMEMBERED = 100_000
_MAX_SUBJECTS = 5

# What pnnx prints in a good run and what only its authors need.
_PLAIN = re.compile(
    r"|-+|#+ pass_\w+|(?:get inputshape from|inline (?:module|function)|model inputshape =|assign dynamic"
    r"|FLOPS =|memory OPS =|custom op =|load custom module|convert (?:reshape|interp) expression|model \d"
    r"|make_index_expression|insert_reshape|match concat|Use method|pnnx build without|roi_align inputs"
    r"|swapped detected|shape empty|F\.dropoutnd|op_attr|nothing|pnnx will optimize|-+convert_slice"
    # behind a model that it cannot read: where its own code was, and how to save one
    r"|Exception raised from|frame #\d|Please export model to|import torch|mod\.save\().*"
    # arguments of a module, or of an operator that the user brought
    r"|\w+ = .*|arg \w+|\w+  \d+"
    # what it measures and counts of ONNX
    r"|\w+ \.\.\. .*|\s*[\d.]+ms|[┌├└│].*"
)
_WARNING_END = "(function operator())"
_USAGE = b"Usage: pnnx "
_HERE = re.compile(r"\s*~+ <--- HERE")
_SOURCE = re.compile(r"(?P<file>\S.*\.py)\((?P<line>\d+)\): \w+")
_CALL = re.compile(r"(?:torch|ops)\.([\w.]+)")


@dataclass(slots=True)
class Group:
    """Lines of one meaning: the first of them (`line` counts from 1), how many, and what they name."""

    rule: type[ConsoleRule]
    line: int
    text: str
    match: dict[str, str]
    count: int = 1
    subjects: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Log:
    """The last run of a log.

    `stage` is the pass that was begun last, "" before the first; `ended` whether the statistics that
    20261020 prints at its end are there. `culprit` is the operator that a dying run names (`aten::qr`),
    `code` its TorchScript statement, `source` the line of the PyTorch model that it came from, `said` the
    first line of its last words.
    """

    path: Path
    lines: int = 0
    first: int = 0
    paths: dict[str, str] = field(default_factory=dict)
    inputshape: str = ""
    stage: str = ""
    ended: bool = False
    is_usage: bool = False
    groups: list[Group] = field(default_factory=list)
    uncounted: int = 0
    culprit: str = ""
    code: str = ""
    source: str = ""
    said: str = ""

    @property
    def names_files(self) -> bool:
        """Whether this is a log of pnnx at all: each begins with the paths of its files."""
        return bool(self.paths)

    def has(self, *rules: type[ConsoleRule]) -> bool:
        return any(group.rule in rules for group in self.groups)


def read_log(path: Path) -> Log:
    """Reads the log at `path`, line by line. If it holds several runs, the last one is given.

    Raises ParseError if it cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            return _Reader(path).read(stream)
    except OSError as error:
        raise ParseError(path, 0, 0, f"cannot be read: {error.strerror}") from error


class _Reader:
    def __init__(self, path: Path) -> None:
        self._log = Log(path)
        self._groups: dict[tuple[object, ...], Group] = {}
        self._known: dict[bytes, Group | None] = {}
        self._unknown = 0
        self._rest = Group(UnknownLine, 0, "", {}, 0)
        self._dying = False
        self._in_warning = False
        self._before = ""

    def read(self, stream: BinaryIO) -> Log:
        for number, raw in _iterate_lines(stream):
            self._log.lines = number
            if raw.startswith(b"pnnxparam = "):
                # pnnx prints it first of all: a run begins.
                self._log = Log(self._log.path, number, number)
                self._groups, self._known, self._dying = {}, {}, False
                self._unknown, self._rest = 0, Group(UnknownLine, 0, "", {}, 0)
            if raw in self._known and not self._dying:
                group = self._known[raw]
                if group is not None:
                    group.count += 1
                continue
            self._read_line(number, raw)
        self._log.uncounted = self._rest.count
        self._log.groups = sorted(self._groups.values(), key=lambda group: group.line)
        return self._log

    def _read_line(self, number: int, raw: bytes) -> None:
        text = raw.decode("utf-8", "replace").rstrip("\r\n")
        log = self._log
        if raw.startswith(b"############# pass_"):
            log.stage = text.removeprefix("############# ")
        elif raw.startswith((b"FLOPS = ", b"memory OPS = ")):
            log.ended = True
        elif raw.startswith(_USAGE):
            log.is_usage = True
        elif log.is_usage:
            return
        elif raw.startswith(b"inputshape = "):
            log.inputshape = text.removeprefix("inputshape = ") or log.inputshape
        elif raw.startswith((b"pnnx", b"ncnn")) and " = " in text:
            key, _, value = text.partition(" = ")
            if key in PATH_KEYS:
                log.paths[key] = value
        else:
            group = self._explain(number, text)
            if len(self._known) < _MAX_REMEMBERED and not self._dying:
                self._known[raw] = group
        self._before = text

    def _explain(self, number: int, text: str) -> Group | None:
        if self._dying and not self._log.said:
            self._log.said = text.removeprefix("  what():").strip()
        if self._dying and self._harvest(text):
            return None
        if self._in_warning:
            # A warning of several lines; PyTorch ends each with the function that gave it.
            self._in_warning = not text.endswith(_WARNING_END)
            return None
        for rule in LINE_RULES:
            found = rule.match(text)
            if found is not None:
                self._dying = self._dying or text.startswith("terminate called")
                self._in_warning = rule is Deprecation and not text.endswith(_WARNING_END)
                return self._count(rule, number, text, found)
        if self._dying or _PLAIN.fullmatch(text):
            return None
        if text.startswith("Traceback of TorchScript"):
            self._dying = True
            return None
        return self._count(UnknownLine, number, text, {})

    def _harvest(self, text: str) -> bool:
        """Take from the backtrace of a dying run what names the operator; whether that was all."""
        log = self._log
        if _HERE.fullmatch(text):
            # The innermost call comes last. What is marked of an outer one is the submodule that it calls.
            log.code = self._before.strip()
            marked = self._before[text.index("~") : text.rindex("~") + 1]
            call = _CALL.match(marked)
            log.culprit = f"aten::{call[1]}" if call else log.culprit
            return True
        source = _SOURCE.fullmatch(text)
        if source is not None:
            # PyTorch lists the innermost frame first; its own frames are no help.
            if not log.source and "site-packages/torch/" not in text:
                log.source = f"{source['file']}:{source['line']}"
            return True
        return False

    def _count(self, rule: type[ConsoleRule], number: int, text: str, found: dict[str, str]) -> Group | None:
        if rule is BatchAxisGuess:
            key: tuple[object, ...] = (rule,)
        elif rule in (DiedInside, DiedInOperator) and self._dying:
            key = (DiedInOperator,)
        else:
            key = (rule, text)
        group = self._groups.get(key)
        if group is None:
            self._unknown += rule is UnknownLine
            if len(self._groups) >= MAX_GROUPS or (rule is UnknownLine and self._unknown > MAX_UNKNOWN):
                self._rest.count += 1
                return self._rest
            group = self._groups[key] = Group(rule, number, text[:500], found)
        elif key == (DiedInOperator,):
            # `terminate called` comes first, what says more after it.
            if rule is DiedInOperator:
                group.rule, group.text, group.match = rule, text[:500], found
        else:
            group.count += 1
        subject = found.get("operand", "")
        if subject and len(group.subjects) < _MAX_SUBJECTS:
            group.subjects.append(subject)
        return group


def _iterate_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines with their numbers; of a line beyond MAX_LINE only its beginning is given."""
    number = 0
    while raw := stream.readline(MAX_LINE):
        number += 1
        yield number, raw
        while raw and not raw.endswith(b"\n"):
            raw = stream.readline(MAX_LINE)
