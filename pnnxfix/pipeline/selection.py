"""Which findings are wanted: selected codes, ignored ones, files and lines that ignore some."""

from __future__ import annotations

import fnmatch
from pathlib import Path

from pnnxfix.options import Options


class Selection:
    """The wanted codes of one run over one conversion; remembers which comments were of use."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._known: dict[tuple[str, tuple[Path, ...]], bool] = {}
        self.used_comments: set[int] = set()

    def wants(self, code: str, *paths: Path) -> bool:
        """Whether findings of a code are wanted in all of the files."""
        key = (code, paths)
        if key not in self._known:
            self._known[key] = self._decide(code, paths)
        return self._known[key]

    def _decide(self, code: str, paths: tuple[Path, ...]) -> bool:
        select, ignore = self._options.select, self._options.ignore
        if (select and not code.startswith(select)) or (ignore and code.startswith(ignore)):
            return False
        return not any(
            code.startswith(codes)
            for pattern, codes in self._options.per_file_ignores.items()
            for path in paths
            if codes and (fnmatch.fnmatch(path.name, pattern) or fnmatch.fnmatch(path.as_posix(), pattern))
        )

    def consume_ignore(self, line: int, codes: tuple[str, ...], code: str) -> bool:
        """Whether a line's comment ignores a code (no codes at all: every one)."""
        if codes and not code.startswith(codes):
            return False
        self.used_comments.add(line)
        return True
