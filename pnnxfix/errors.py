"""The errors that pnnxfix raises for what a user can mend."""

from __future__ import annotations

import os


class PnnxfixError(Exception):
    """Something the user can mend: it is shown as a message, never as a traceback."""


class ParseError(PnnxfixError):
    """A file that does not hold what its name promises.

    `line` and `column` count from 1; `line` is 0 where the fault is about the file as a whole.
    """

    def __init__(self, path: str | os.PathLike[str], line: int, column: int, reason: str) -> None:
        self.path = os.fspath(path)
        self.line = line
        self.column = column
        self.reason = reason
        super().__init__(f"{self.position}: {reason}")

    @property
    def position(self) -> str:
        """`file:line:column`, or the file alone where there is no line."""
        return f"{self.path}:{self.line}:{self.column}" if self.line else self.path
