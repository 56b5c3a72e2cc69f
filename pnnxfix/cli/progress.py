"""One line on the terminal that tells how far a long run has come."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

_DELAY = 1.0
_WIDTH = 78


class Progress:
    """Shown on stderr once the run has lasted a second, and gone when it ends.

    A timer shows it, not the calls: one large conversion makes a single call, at its start.
    """

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._line = "reading"
        self._visible = False

    def __call__(self, position: int, total: int, stem: Path) -> None:
        from pnnxfix.cli.console import printable, shown

        self._line = f"[{position + 1}/{total}] {printable(shown(stem))}"
        if self._visible:
            self._draw()

    def __enter__(self) -> Progress:
        if self._enabled:
            from threading import Timer

            self._timer = Timer(_DELAY, self._draw)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._enabled:
            self._timer.cancel()
            self._timer.join()
            if self._visible:
                self._put("")

    def _draw(self) -> None:
        self._visible = True
        self._put(self._line[:_WIDTH])

    @staticmethod
    def _put(text: str) -> None:
        sys.stderr.write(f"\r\x1b[2K{text}")
        sys.stderr.flush()
