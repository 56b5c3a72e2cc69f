"""Parses one printed line of TorchScript code with Python's parser, within limits."""

from __future__ import annotations

import ast
import re
from functools import lru_cache

from pnnxfix.errors import ParseError

MAX_DEPTH = 1000
# Below this length a line cannot nest deeply enough to trouble Python's parser.
_SHORT_LINE = 250
# From about this many digits on, Python's conversion takes quadratic time or is refused.
_LONG_NUMBER = re.compile(r"[\d_]{4000}")
_TOKEN = re.compile(r""" "(?:[^"\\]|\\.)*"? | '(?:[^'\\]|\\.)*'? | \w+ | \S """, re.VERBOSE)


def parse_line(text: str, path: str, line: int) -> ast.stmt:
    """The one statement that `text` is; a header such as `if x:` comes with the body `pass`.

    Raises ParseError at `path` and `line` if it is no statement, or nests too deeply.
    """
    if len(text) > _SHORT_LINE:
        _check_depth(text, path, line)
    try:
        statements = _parse_short(text) if len(text) <= _SHORT_LINE else ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else type(error).__name__
        raise ParseError(path, line, 1, f"code that cannot be parsed: {reason}") from error
    if len(statements) != 1:
        raise ParseError(path, line, 1, "a line that is not one statement")
    return statements[0]


def cut_text(code: bytes, node: ast.expr) -> str:
    """The text of `node` in the line `code`, as printed."""
    # Only signatures span lines; the parser counts columns in bytes.
    if node.lineno != 1 or node.end_lineno != 1:
        return ast.unparse(node)
    return code[node.col_offset : node.end_col_offset].decode()


# Modules of one class print the same lines over and over.
@lru_cache(maxsize=1024)
def _parse_short(text: str) -> list[ast.stmt]:
    return ast.parse(text).body


def _check_depth(text: str, path: str, line: int) -> None:
    """Refuses what could overflow the stack of Python's parser.

    An expression is at most as deep as the tokens that stand before it since the last comma, in
    each of the brackets that are open.
    """
    if _LONG_NUMBER.search(text):
        raise ParseError(path, line, 1, "a number of thousands of digits")
    depth = 0
    counts = [0]
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token == ",":
            depth -= counts[-1]
            counts[-1] = 0
            continue
        if token in ")]}" and len(counts) > 1:
            depth -= counts.pop()
        counts[-1] += 1
        depth += 1
        if token in "([{":
            counts.append(0)
        if depth > MAX_DEPTH:
            raise ParseError(path, line, 1, f"an expression more than {MAX_DEPTH} tokens deep")
