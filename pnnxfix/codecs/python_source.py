"""The generated `_pnnx.py`: found by text, changed by the statement, every other byte kept.

A file with one leaked call (`v_2 = aten::clamp_min(v_0, v_1)`) does not parse as a whole, so
the statements that matter are found on text; pnnx writes one statement per line. What is to
change goes through libcst, one statement at a time.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pnnxfix.errors import ParseError

_LEAK = re.compile(
    r"""(?P<indent>[ \t]*)
        (?P<targets>[A-Za-z_]\w*(?:,[ ]?[A-Za-z_]\w*)*)[ ]=[ ]
        (?P<operator>[A-Za-z_]\w*(?:::\w+)+)\(""",
    re.VERBOSE,
)
_ASSIGNED = re.compile(r"^[ \t]+(v_\d+) = (\S+)[ \t]*(?:#.*)?\r?$", re.MULTILINE)
_VALUE = re.compile(r"\bv_\d+\b")
_FORWARD = re.compile(r"^([ \t]+)def forward\(self.*$", re.MULTILINE)
_IGNORE = re.compile(r"#\s*pnnxfix:\s*ignore(?:\[([A-Za-z0-9, ]*)\])?")
_BARE_SPECIAL = re.compile(r"[+-]?(?:inf|nan)(?:\.0)?\Z")
_BARE_VALUE = re.compile(r"^(\w+ = )\S+")
_STATEMENT = re.compile(r"[ \t]+\S.* = ")
_LEAKED_NAME = re.compile(rb"( = )[A-Za-z_]\w*(?:::\w+)+\(")
_LONGEST_STATEMENT = 100_000


@dataclass(frozen=True, slots=True)
class LeakedCall:
    """One statement that calls an operator pnnx left as it was; `line` is an index from 0.

    `arguments` are the texts between the commas of the outermost parentheses.
    """

    line: int
    column: int
    operator: str
    targets: tuple[str, ...]
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Assigned:
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
        match = _FORWARD.search(self.text)
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
        found = []
        first, last = self.forward
        offset = -1
        text = self.text
        line = counted = 0
        while (offset := text.find("::", offset + 1)) != -1:
            start = text.rfind("\n", 0, offset) + 1
            match = _LEAK.match(text, start)
            end = text.find("\n", offset)
            end = len(text) if end == -1 else end
            offset = end - 1  # the first `::` of a line decides, so a line costs its length
            if match is None:
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
    def constants(self) -> dict[str, Assigned]:
        """The values of forward that are assigned one bare word, by name; the last one counts."""
        first, last = self.forward
        found: dict[str, Assigned] = {}
        body = "\n".join(self.lines[first:last])
        line, counted = first, 0
        for match in _ASSIGNED.finditer(body):
            line += body.count("\n", counted, match.start())
            counted = match.start()
            found[match[1]] = Assigned(line, match[2])
        return found

    @cached_property
    def bare_specials(self) -> list[tuple[str, Assigned]]:
        """Values assigned a bare `inf` or `nan`, which are names that Python does not know."""
        if "inf" not in self.text and "nan" not in self.text:
            return []
        return [(name, value) for name, value in self.constants.items() if _BARE_SPECIAL.match(value.text)]

    @cached_property
    def reads(self) -> Counter[str]:
        """How often each value is named in forward, its assignments included."""
        first, last = self.forward
        return Counter(_VALUE.findall("\n".join(self.lines[first:last])))

    def ignored_codes(self, line: int) -> tuple[str, ...] | None:
        """The codes that a line's `# pnnxfix: ignore[...]` names; () is all of them, None is no comment."""
        match = _IGNORE.search(self.lines[line])
        if match is None:
            return None
        return tuple(code.strip() for code in (match[1] or "").split(",") if code.strip())

    def ignore_comments(self) -> list[int]:
        """The lines that carry such a comment."""
        if "pnnxfix:" not in self.text:
            return []
        return [at for at, line in enumerate(self.lines) if _IGNORE.search(line)]

    # editing

    def replace_call(self, leak: LeakedCall, expression: str) -> None:
        """Put an expression in the place of a leaked call; targets and comment stay as they are."""
        self.edits[leak.line] = self._rewrite(leak.line, leak.operator, expression)

    def replace_value(self, line: int, expression: str) -> None:
        """Put an expression in the place of what a statement assigns."""
        self.edits[line] = self._rewrite(line, None, expression)

    def _rewrite(self, line: int, operator: str | None, expression: str) -> str:
        try:
            return rewrite_statement(self.lines[line], operator, expression)
        except ValueError:
            text = self.lines[line]
            column = len(text) - len(text.lstrip()) + 1
            reason = "this statement is no Python even without its leaked operator"
            raise ParseError(self.path, line + 1, column, reason) from None

    def remove(self, line: int) -> None:
        """Remove a statement with its line."""
        self.edits[line] = None

    def dump(self) -> bytes:
        """The file's bytes with all edits; without any, the bytes as they were read."""
        return self.dump_with(self.edits)

    def dump_with(self, edits: Mapping[int, str | None]) -> bytes:
        if not edits:
            return self.data
        lines = list(self.lines)
        for at, text in edits.items():
            if text is not None:
                lines[at] = text
        for at in sorted((at for at, text in edits.items() if text is None), reverse=True):
            del lines[at]
        return "\n".join(lines).encode("utf-8")


def rewrite_statement(line: str, operator: str | None, expression: str) -> str:
    """The line with another expression on the right of its `=`, through libcst.

    Indentation, targets, blanks around `=`, comment and line end keep their text. `operator` is
    the leaked name, which is no Python and is hidden from the parser. Raises ValueError where
    the rest of the line is no Python either.
    """
    import libcst

    indent = line[: len(line) - len(line.lstrip())]
    body = line[len(indent) :]
    end = "\r" if body.endswith("\r") else ""
    body = body.removesuffix("\r")
    # What is no Python is hidden from the parser: the leaked name, and values such as `nan.0`.
    if operator is not None:
        body = body.replace(operator + "(", "leaked(", 1)
    else:
        body = _BARE_VALUE.sub(r"\1leaked", body)
    try:
        statement = libcst.parse_statement(body)
    except libcst.ParserSyntaxError as error:
        raise ValueError(body) from error
    assign = statement.body[0] if isinstance(statement, libcst.SimpleStatementLine) else None
    if not isinstance(statement, libcst.SimpleStatementLine) or not isinstance(assign, libcst.Assign):
        raise ValueError(body)
    changed = statement.with_changes(body=[assign.with_changes(value=libcst.parse_expression(expression))])
    return indent + libcst.Module([changed]).code.removesuffix("\n") + end


def find_values(expression: str) -> list[str]:
    """The values (`v_12`) that an expression names, each as often as it does."""
    return _VALUE.findall(expression)


def hide_leaks(data: bytes) -> bytes:
    """The bytes with every leaked name made a Python name, so that the rest can be compiled."""
    return _LEAKED_NAME.sub(rb"\1leaked(", data)


def split_arguments(text: str) -> tuple[str, ...] | None:
    """The arguments in `a, [b, c], f(d))...` up to the parenthesis that closes the call.

    None where it does not close, or where anything but blanks and a comment comes after it.
    """
    if len(text) > _LONGEST_STATEMENT:
        return None
    arguments: list[str] = []
    depth = start = 0
    quote = ""
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
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


def syntax_error(data: bytes, path: str) -> SyntaxError | None:
    """Why the bytes are no Python, or None. They are compiled, never run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(data, path, "exec", dont_inherit=True)
        except SyntaxError as error:
            return error
        except (ValueError, RecursionError, MemoryError, OverflowError) as error:
            return SyntaxError(f"{type(error).__name__}: {error}")
    return None


def is_broken_statement(line: str) -> bool:
    """Whether one line of a body assigns something and is no Python by itself."""
    if _STATEMENT.match(line) is None:
        return False
    body = f"def f(self):\n {line.strip() or 'pass'}\n"
    return syntax_error(body.encode("utf-8", "surrogatepass"), "<line>") is not None
