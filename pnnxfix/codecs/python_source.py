"""The generated `_pnnx.py`: found by text, changed by the statement, every other byte kept.

A file with one leaked call (`v_2 = aten::clamp_min(v_0, v_1)`) does not parse as a whole, so
the statements that matter are found on text; pnnx writes one statement per line. What is to
change goes through libcst, one statement at a time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from keyword import iskeyword
from typing import NamedTuple

from pnnxfix.errors import ParseError

# Patterns, not compiled: a clean file needs few of them, and compiling all costs a tenth of its check.
_LEAK = r"""(?x)(?P<indent>[ \t]*)
        (?P<targets>[A-Za-z_]\w*(?:,[ ]?[A-Za-z_]\w*)*)[ ]=[ ]
        (?P<operator>[A-Za-z_]\w*(?:::\w+)+)\("""
_ASSIGNED = r"(?m)^[ \t]+(v_\d+) = (\S+)[ \t]*(?:#.*)?\r?$"
_DEFINED = r"[ \t]+(v_\d+(?:, ?\w+)*) = ([^#]*)"
_BARE_WORD = r"(?m)^[ \t]+(v_\d+) = (\(?(?!v_\d)[A-Za-z_]\w*\)?)[ \t]*(?:#.*)?\r?$"
_PYTHON_WORDS = frozenset({"None", "True", "False", "inf", "nan"})
_VALUE = r"\bv_\d+\b"
_FORWARD = r"(?m)^([ \t]+)def forward\(self.*$"
_IGNORE = r"#\s*pnnxfix:\s*ignore(?:\[([A-Za-z0-9, ]*)\])?"
_BARE_SPECIAL = r"[+-]?(?:inf|nan)(?:\.0)?\Z"
_SPECIAL_STARTS = tuple(f" = {sign}{word}" for sign in ("", "+", "-") for word in ("inf", "nan"))
_ASSIGNED_VALUE = r"^([^=#]+ = )[^#]*?(\s*(?:#.*)?)$"
_MEMBER = r"(?m)^[ \t]+self\.(\S+) = "
_LONG_STRING = r"""(?s)(\"{3}|'{3}).*?(?:\1|\Z)"""
_LONGEST_STATEMENT = 100_000
# Past some 1,100 nested brackets libcst's parser overflows the stack and ends the process.
LONGEST_REWRITE = 1_000


class LeakedCall(NamedTuple):
    """One statement that calls an operator pnnx left as it was; `line` is an index from 0.

    `arguments` are the texts between the commas of the outermost parentheses.
    """

    line: int
    column: int
    operator: str
    targets: tuple[str, ...]
    arguments: tuple[str, ...]


class Assigned(NamedTuple):
    """A statement `v_1 = <one word>`; `line` is an index from 0."""

    line: int
    text: str


class PythonFile:
    """The lines of one generated file and what is found in them when somebody asks.

    Lines end where Python ends them (LF; a CR stays at the line's end) and count from 0 here.
    """

    def __init__(self, data: bytes, path: str) -> None:
        """Raises ParseError where the bytes are no UTF-8 text."""
        self.path = path
        self.data = data
        if b"\x00" in data:
            raise ParseError(
                path, data.count(b"\n", 0, data.index(b"\x00")) + 1, 1, "a NUL byte: this is no Python source"
            )
        try:
            self.text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ParseError(
                path, line, error.start - data.rfind(b"\n", 0, error.start), "not UTF-8 text"
            ) from None
        self.edits: dict[int, str | None] = {}

    @cached_property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    @cached_property
    def is_generated(self) -> bool:
        """Whether pnnx wrote this: its class, its weight reader and its forward are there."""
        return (
            "class Model(nn.Module)" in self.text
            and "load_pnnx_bin_as_" in self.text
            and "def forward(self" in self.text
        )

    @cached_property
    def forward(self) -> tuple[int, int]:
        """The lines of forward's body, first and one past the last; (0, 0) if there is none."""
        match = re.search(_FORWARD, self.text)
        if match is None:
            return (0, 0)
        first = self.text.count("\n", 0, match.start()) + 1
        outer = len(match[1])
        # The next line that is indented no deeper than `def forward` ends it.
        end = re.compile(rf"^[ \t]{{0,{outer}}}[^ \t\r\n]", re.MULTILINE).search(self.text, match.end())
        last = len(self.lines) if end is None else self.text.count("\n", 0, end.start())
        return (first, last)

    @cached_property
    def leaks(self) -> list[LeakedCall]:
        """The statements of forward that call `namespace::operator`, in order. Cost: their number."""
        found: list[LeakedCall] = []
        text = self.text
        if "::" not in text:
            return found
        leak = re.compile(_LEAK)
        first, last = self.forward
        offset = -1
        line = counted = 0
        while (offset := text.find("::", offset + 1)) != -1:
            start = text.rfind("\n", 0, offset) + 1
            match = leak.match(text, start)
            end = text.find("\n", offset)
            end = len(text) if end == -1 else end
            offset = end - 1  # the first `::` of a line decides, so a line costs its length
            if match is None or any(first < start < last for first, last in self._long_strings):
                continue  # a slice such as v_0[::2], a string, a comment
            line += text.count("\n", counted, start)
            counted = start
            if not first <= line < last:
                continue
            arguments = split_arguments(text[match.end() : end])
            if arguments is not None:
                targets = tuple(name.strip() for name in match["targets"].split(","))
                found.append(
                    LeakedCall(
                        line, match.start("operator") - start + 1, match["operator"], targets, arguments
                    )
                )
        return found

    @cached_property
    def _long_strings(self) -> list[tuple[int, int]]:
        """Where strings of several lines begin and end; pnnx writes none, so mostly nothing."""
        if '"""' not in self.text and "'''" not in self.text:
            return []
        return [match.span() for match in re.finditer(_LONG_STRING, self.text)]

    @cached_property
    def constants(self) -> dict[str, Assigned]:
        """The values of forward that are assigned one bare word, by name; the last one counts."""
        first, last = self.forward
        found: dict[str, Assigned] = {}
        body = "\n".join(self.lines[first:last])
        line, counted = first, 0
        for match in re.finditer(_ASSIGNED, body):
            line += body.count("\n", counted, match.start())
            counted = match.start()
            found[match[1]] = Assigned(line, match[2])
        return found

    @cached_property
    def definitions(self) -> dict[str, Assigned]:
        """What each value of forward is assigned; the text is empty for one of several targets."""
        first, last = self.forward
        found: dict[str, Assigned] = {}
        match_line = re.compile(_DEFINED).match
        for line, text in enumerate(self.lines[first:last], first):
            match = match_line(text)
            if match is None:
                continue
            targets, value = match.groups()
            if "," not in targets:
                found[targets] = Assigned(line, value.strip())
                continue
            for name in targets.split(","):
                found[name.strip()] = Assigned(line, "")
        return found

    @cached_property
    def bare_words(self) -> list[tuple[str, Assigned]]:
        """Values assigned a string without its quotes, as pnnx prints it: `v_1 = amax`, `v_1 = (ij)`."""
        if re.search(_BARE_WORD, self.text) is None:
            return []
        first, last = self.forward
        match_line = re.compile(_BARE_WORD).match
        matches = [(line, match_line(self.lines[line])) for line in range(first, last)]
        return [
            (match[1], Assigned(line, match[2]))
            for line, match in matches
            if match is not None and match[2].strip("()") not in _PYTHON_WORDS
        ]

    @cached_property
    def bare_specials(self) -> list[tuple[str, Assigned]]:
        """Values assigned a bare `inf` or `nan`, which are names that Python does not know."""
        if not any(start in self.text for start in _SPECIAL_STARTS):
            return []
        return [
            (name, value) for name, value in self.constants.items() if re.match(_BARE_SPECIAL, value.text)
        ]

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The values that forward is given."""
        match = re.search(_FORWARD, self.text)
        return () if match is None else tuple(re.findall(_VALUE, match[0]))

    @cached_property
    def has_doubtful_names(self) -> bool:
        """Whether a member (`self.conv`, `self.conv.weight`) is set twice, or is no identifier."""
        names = re.findall(_MEMBER, self.text)
        parts = {part for name in names for part in name.split(".")}
        return len(set(names)) < len(names) or not all(p.isidentifier() and not iskeyword(p) for p in parts)

    @cached_property
    def reads(self) -> Counter[str]:
        """How often each value is named in forward, its assignments included."""
        first, last = self.forward
        return Counter(re.findall(_VALUE, "\n".join(self.lines[first:last])))

    def ignored_codes(self, line: int) -> tuple[str, ...] | None:
        """The codes that a line's `# pnnxfix: ignore[...]` names; () is all of them, None is no comment."""
        match = re.search(_IGNORE, self.lines[line])
        if match is None:
            return None
        return tuple(code.strip() for code in (match[1] or "").split(",") if code.strip())

    def ignore_comments(self) -> list[int]:
        """The lines that carry such a comment."""
        if "pnnxfix:" not in self.text:
            return []
        return [at for at, line in enumerate(self.lines) if re.search(_IGNORE, line)]

    # editing

    def replace_call(self, leak: LeakedCall, expression: str) -> None:
        """Put an expression in the place of a leaked call; targets and comment stay as they are."""
        self.edits[leak.line] = self._rewrite(leak.line, leak.operator, expression)

    def replace_value(self, line: int, expression: str) -> None:
        """Put an expression in the place of what a statement assigns."""
        self.edits[line] = self._rewrite(line, None, expression)

    def _rewrite(self, line: int, operator: str | None, expression: str, text: str = "") -> str:
        text = text or self.lines[line]
        try:
            return rewrite_statement(text, operator, expression)
        except ValueError:
            column = len(text) - len(text.lstrip()) + 1
            reason = "this statement is no Python even without its leaked operator, or far too long"
            raise ParseError(self.path, line + 1, column, reason) from None

    def replace_line(self, line: int, text: str, expression: str | None) -> None:
        """Put a text in the place of a line, and an expression in the place of its value, if one is given."""
        self.edits[line] = text if expression is None else self._rewrite(line, None, expression, text)

    def remove(self, line: int) -> None:
        """Remove a statement with its line."""
        self.edits[line] = None

    def dump(self) -> bytes:
        """The file's bytes with all edits; without any, the bytes as they were read."""
        return self.dump_with(self.edits)

    def dump_with(self, edits: Mapping[int, str | None]) -> bytes:
        if not edits:
            return self.data
        lines: list[str | None] = list(self.lines)
        for at, text in edits.items():
            lines[at] = text
        return "\n".join([line for line in lines if line is not None]).encode("utf-8")


def rewrite_statement(line: str, operator: str | None, expression: str) -> str:
    """The line with another expression on the right of its `=` or `return`, through libcst.

    Indentation, targets, blanks around `=`, comment and line end keep their text. `operator` is
    the leaked name, which is no Python and is hidden from the parser. Raises ValueError where
    the rest of the line is no Python either, or too long to be parsed safely.
    """
    import libcst

    indent = line[: len(line) - len(line.lstrip())]
    body = line[len(indent) :]
    end = "\r" if body.endswith("\r") else ""
    body = body.removesuffix("\r")
    if max(len(body), len(expression)) > LONGEST_REWRITE:
        raise ValueError(body)
    # What is no Python is hidden from the parser: the leaked name, and values such as `nan.0`.
    if operator is not None:
        body = body.replace(operator + "(", "leaked(", 1)
    else:
        body = re.sub(_ASSIGNED_VALUE, r"\1leaked\2", body)
    try:
        statement = libcst.parse_statement(body)
        value = libcst.parse_expression(expression)
    except libcst.ParserSyntaxError as error:
        raise ValueError(body) from error
    assign = statement.body[0] if isinstance(statement, libcst.SimpleStatementLine) else None
    if not isinstance(statement, libcst.SimpleStatementLine) or not isinstance(
        assign, libcst.Assign | libcst.Return
    ):
        raise ValueError(body)
    changed = statement.with_changes(body=[assign.with_changes(value=value)])
    return indent + libcst.Module([changed]).code.removesuffix("\n") + end


def find_values(expression: str) -> list[str]:
    """The values (`v_12`) that an expression names, each as often as it does."""
    return re.findall(_VALUE, expression)


def split_arguments(text: str) -> tuple[str, ...] | None:
    """The arguments in `a, [b, c], f(d))...` up to the parenthesis that closes the call.

    None where it does not close, or where anything but blanks and a comment comes after it.
    """
    if len(text) > _LONGEST_STATEMENT:
        return None
    arguments: list[str] = []
    depth = start = 0
    quote = ""
    escaped = False
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote and not escaped else quote
            escaped = char == "\\" and not escaped
        elif char in "'\"":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            if depth:
                depth -= 1
                continue
            if char != ")":
                return None
            rest = text[at + 1 :].strip()
            if rest and not rest.startswith("#"):
                return None
            last = text[start:at].strip()
            return (*arguments, last) if last else tuple(arguments)
        elif char == "," and not depth:
            arguments.append(text[start:at].strip())
            start = at + 1
    return None
