"""Whether text is Python. It is compiled, never run."""

from __future__ import annotations

import re
import warnings
from keyword import kwlist

_ASSIGNMENT = r"[ \t]+\S.* = "
_LEAKED_NAME = rb"( = )[A-Za-z_]\w*(?:::\w+)+\("

_SHORT = 100_000
"""Bytes that are compiled sooner than the patterns below are."""
# With one of these a line may belong to a longer statement, or say something about other lines.
_ENTANGLING = (b"\\\n", b"\\\r", b'"""', b"'''", b"global", b"nonlocal")
_DECLARED_ENCODING = rb"(?:.*\n)?.*coding"

# The end of a line that is Python wherever a `pass` is, as nearly all lines are that pnnx writes. It begins
# with `v_`, which is searched for fast. A key that is given twice is refused by the compiler.
_WORD = rf"(?!(?:{'|'.join(kwlist)})\b)[A-Za-z_]\w*"
_NAME = rf"{_WORD}(?:\.{_WORD})*"
_NUMBER = r"-?(?:0|[1-9]\d{0,18})(?:\.\d{0,30})?(?:e[+-]?\d{1,3})?"
_ATOM = rf"(?:{_NUMBER}|{_NAME}|None|True|False|'[\w.]*')"
_VALUE = rf"(?:{_ATOM}|\({_ATOM}(?:,[ ]?{_ATOM})*,?\))"
_KEYED = rf"(?!__){_WORD}={_VALUE}"
_CALL = rf"{_NAME}\((?:(?:{_VALUE},[ ])*(?:{_VALUE}|{_KEYED})(?:,[ ]{_KEYED})*)?\)"
_OPERATION = rf"\({_ATOM}[ ][-+*/][ ]{_ATOM}\)"
_PLAIN_STATEMENT = (
    r"v_(?<=[ ]v_)(?=.{1,400}\n)(?!.*[( ](\w+)=.*[ ]\1=)"
    rf"\d+(?:,[ ]v_\d+)*[ ]=[ ](?:{_CALL}|{_OPERATION}|{_NUMBER}|{_NAME})\r?\n"
)


def hide_leaks(data: bytes) -> bytes:
    """The bytes with every leaked name made a Python name, so that the rest can be compiled."""
    return re.sub(_LEAKED_NAME, rb"\1leaked(", data) if b"::" in data else data


def syntax_error(data: bytes, path: str) -> SyntaxError | None:
    """Why the bytes are no Python, or None. Cost: compiling what is no plain line; all where that fails."""
    if len(data) > _SHORT and not _is_entangled(data):
        shorter = re.sub(_PLAIN_STATEMENT.encode(), b"pass\n", data)
        shorter = re.sub(rb"(?m)^([ ]+pass\n)(?:\1)+", rb"\1", shorter)
        if _compile(shorter, path) is None:
            return None
    return _compile(data, path)


def _is_entangled(data: bytes) -> bool:
    """Whether lines that each look like a statement may be something else."""
    return any(mark in data for mark in _ENTANGLING) or re.match(_DECLARED_ENCODING, data) is not None


def _compile(data: bytes, path: str) -> SyntaxError | None:
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
    if re.match(_ASSIGNMENT, line) is None:
        return False
    body = f"def f(self):\n {line.strip() or 'pass'}\n"
    return syntax_error(body.encode("utf-8", "surrogatepass"), "<line>") is not None
