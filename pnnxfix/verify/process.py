"""A child process with one runtime in it, under a limit of time and one of memory.

Generated code and native runtimes run only there: what they do to their process is an answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_SHOWN_LINES = 20
DIED = "the process died of"
LATE = "no answer within the time limit of"


@dataclass(frozen=True, slots=True)
class Limits:
    """`seconds` for each answer of a child; `memory` in bytes beyond what its imports take, 0 for none."""

    seconds: float = 300.0
    memory: int = 8 << 30


class ChildFailed(Exception):
    """A child refused, died or took too long; `messages` are the last lines that it printed."""

    def __init__(self, reason: str, messages: tuple[str, ...] = ()) -> None:
        self.reason = reason
        self.messages = messages
        super().__init__(reason)


class Child:
    """Runs one of the programs of this folder; started at once, so that two children import side by side."""

    def __init__(self, program: str, limits: Limits) -> None:
        self._limits = limits
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115
        self._timed_out = False
        self.runtime = ""
        self._process = subprocess.Popen(
            [sys.executable, str(_HERE / program), str(limits.memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            cwd=_HERE.parent / "data",
            # A group of its own, so that what it starts ends with it.
            start_new_session=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """The answer to one request. Raises ChildFailed."""
        timer = threading.Timer(self._limits.seconds, self._end_late)
        timer.daemon = True
        timer.start()
        try:
            if not self.runtime:
                self.runtime = self._read()["runtime"]
            return self._send({"do": do, **request})
        finally:
            timer.cancel()

    def take_messages(self) -> tuple[str, ...]:
        """What the child has printed since this was asked last, its last lines, safe to print."""
        self._messages.seek(0)
        data = self._messages.read()[-65536:]
        self._messages.seek(0)
        self._messages.truncate()
        lines = data.decode(errors="backslashreplace").splitlines()
        kept = [line.strip()[:400] for line in lines if line.strip()][-_SHOWN_LINES:]
        return tuple("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) for line in kept)

    def close(self) -> None:
        self._kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                with contextlib.suppress(OSError):  # what was not sent to a dead child
                    pipe.close()
        self._messages.close()

    def _send(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it died; the answer that does not come says so
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise ChildFailed(self._cause_of_death(), self.take_messages())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ChildFailed(answer["error"], self.take_messages())
        return answer

    def _end_late(self) -> None:
        self._timed_out = True
        self._kill()

    def _kill(self) -> None:
        try:
            if os.name == "posix":
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        except (ProcessLookupError, PermissionError):
            pass  # it has ended by itself

    def _cause_of_death(self) -> str:
        code = self._process.wait()
        if self._timed_out:
            return f"{LATE} {self._limits.seconds:g} s"
        if code >= 0:
            return f"the process ended with exit code {code}"
        try:
            return f"{DIED} {signal.Signals(-code).name}"
        except ValueError:
            return f"{DIED} signal {-code}"
