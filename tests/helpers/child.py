"""A child process that answers one request after another, so that many tests share one start.

The program reads a JSON line from its input and answers with a JSON line. Where it dies instead, the
request that it was given is the one to blame, and the next request starts a new process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

TIMEOUT = 120.0
"""Seconds for one answer; the first one includes the import of torch."""


class ChildFailed(AssertionError):
    """The program died, hung or reported an error."""


class Child:
    """Runs one program of this folder. `path` is put in front of its module search path."""

    def __init__(self, program: str, path: Path | None = None) -> None:
        self._command = [sys.executable, str(Path(__file__).parent / program)]
        # OpenMP's workers would fight over the two cores of a small machine.
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        if path is not None:
            self._environment["PYTHONPATH"] = str(path)
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._process: subprocess.Popen[str] | None = None

    def ask(self, request: dict[str, str]) -> dict[str, Any]:
        """The program's answer. Raises ChildFailed with what it printed."""
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._messages,
                text=True,
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        self._messages.truncate(0)
        self._messages.seek(0)
        watch = threading.Timer(TIMEOUT, process.kill)
        watch.start()
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            watch.cancel()
        if not line:
            code = process.wait()
            self._process = None
            raise ChildFailed(f"{request}: the process ended with {code}\n{self._said()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ChildFailed(f"{request}: {answer['error']}\n{self._said()}")
        return answer

    def close(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait()
        self._messages.close()

    def _said(self) -> str:
        self._messages.seek(0)
        return self._messages.read()[-2000:].decode(errors="replace")
