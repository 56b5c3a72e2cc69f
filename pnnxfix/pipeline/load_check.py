"""Asks the real ncnn, in a child process, whether it loads a param together with its bin.

A process of its own, because ncnn up to 1.0.20250916 kills the process with SIGSEGV on a param that it
cannot load. The child imports ncnn while the parent does its own work.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pnnxfix.pipeline.trial import Trial

TIME_LIMIT = 120.0  # seconds; 10,000 layers take ncnn 0.6, 47 MB of half-float weights 0.1

_CHILD = Path(__file__).with_name("ncnn_child.py")
_DATA = _CHILD.parent.parent / "data"
_KEPT_LINES = 20
_LINE_LENGTH = 400  # names have at most 255 bytes in ncnn
_REMEDY = "`pip install ncnn`, or leave this check out with `--no-load-check`"
_WEIGHTLESS = ("pnnx.Expression", "torch.", "Tensor.", "F.")


@dataclass(frozen=True, slots=True)
class Loaded:
    """ncnn loads it.

    `stubs` are the layer types that ncnn has not and that stood in as Noop. `bin_unread` says why no
    weights were read; it is empty where the bin was loaded too. `trailing` are the bytes at its end that
    no layer read, as far as they are more than a few thousand and the system is Linux.
    """

    ncnn: str
    stubs: tuple[str, ...] = ()
    bin_unread: str = ""
    trailing: int = 0


@dataclass(frozen=True, slots=True)
class Rejected:
    """ncnn refuses it, dies of it, or does not end; `messages` are the last lines that it printed."""

    reason: str
    messages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NotRunning:
    """ncnn loads it, and a run on zeros fails, ends the process, or gives another shape."""

    reason: str
    messages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unavailable:
    """ncnn could not be asked; the reason ends in the remedy."""

    reason: str


Outcome = Loaded | Rejected | NotRunning | Unavailable


def has_weights(layer_type: str) -> bool:
    """Whether an unconverted operator or custom layer may own bytes of the bin.

    pnnx writes the attributes of every operator, converted or not. Those that came from a function
    have none; modules (`nn.`, moduleop=) and the user's own layers may have.
    """
    return "::" not in layer_type and not layer_type.startswith(_WEIGHTLESS)


class LoadCheck:
    """A child process with ncnn in it, replaced when it dies; use it as a context manager.

    Construct it early: the import of ncnn then overlaps with what the caller does before `check`.
    Nothing is imported from the caller's working directory, also not through an empty or relative entry
    of PYTHONPATH: the child runs in a folder of this package. An absolute entry is honoured.
    """

    def __init__(self, time_limit: float = TIME_LIMIT) -> None:
        self.time_limit = time_limit
        self._child: _Child | None = None
        self._failure: Unavailable | None = None
        self._start()

    def __enter__(self) -> LoadCheck:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check(
        self,
        param: Path,
        bin: Path | None,
        custom_layers: Collection[str] = (),
        trial: Trial | None = None,
    ) -> Outcome:
        """What ncnn says of `param`, and of `bin` unless that is None; and of a run, if one is asked for.

        `custom_layers` are the types that ncnn need not know: the user's own, and unconverted operators
        that remain. They stand in as Noop, so everything else is still checked; the bin is left unread
        if one of them may own a part of it.
        """
        if self._failure is None and self._child is None:
            self._start()
        if self._failure is not None or self._child is None:
            return self._failure or Unavailable(f"no child process; {_REMEDY}")
        answer = self._child.ask(param, bin, custom_layers, trial, self.time_limit)
        if isinstance(answer, Loaded):
            return answer
        # Also after a refusal: ncnn before 20260114 may have written past its blob array.
        self.close()
        if isinstance(answer, Unavailable):
            self._failure = answer
        return answer

    def close(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None

    def _start(self) -> None:
        try:
            self._child = _Child()
        except OSError as error:
            self._failure = Unavailable(f"cannot start {sys.executable!r} ({error}); {_REMEDY}")


class _Child:
    """One process of `ncnn_child`; its output is messages of ncnn, and answers that begin with the mark."""

    def __init__(self) -> None:
        self._mark = os.urandom(16).hex().encode()
        self._version = ""
        self._timed_out = False
        self._process = subprocess.Popen(
            [sys.executable, str(_CHILD), self._mark.decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=_DATA,
        )

    def ask(
        self,
        param: Path,
        bin: Path | None,
        custom_layers: Collection[str],
        trial: Trial | None,
        limit: float,
    ) -> Outcome:
        messages: deque[bytes] = deque(maxlen=_KEPT_LINES)
        timer = threading.Timer(limit, self._end_late)
        timer.daemon = True
        timer.start()
        try:
            if not self._version:
                word, detail = self._read_answer(messages)
                if word != "ready":
                    return self._explain_start(word, detail, _readable(messages), limit)
                self._version = detail
            self._send(param, bin, custom_layers, trial)
            word, detail = self._read_answer(messages)
            is_running = word == "running"
            if is_running:
                word, detail = self._read_answer(messages)
        finally:
            timer.cancel()
        if is_running and word != "loaded":
            return self._explain_run(detail, _readable(messages), limit)
        if word == "loaded":
            trailing, *stubs = detail.split()
            return _describe_load(self._version, bin, tuple(stubs), int(trailing))
        return self._explain(word, detail, _readable(messages), limit)

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _end_late(self) -> None:
        self._timed_out = True
        self._process.kill()

    def _send(
        self, param: Path, bin: Path | None, custom_layers: Collection[str], trial: Trial | None
    ) -> None:
        types = ["+" + layer if has_weights(layer) else "-" + layer for layer in custom_layers]
        words = [] if trial is None else _spell_trial(trial)
        fields = [os.path.abspath(param), os.path.abspath(bin) if bin else "", *types, *words]
        request = b"\0".join(os.fsencode(field) for field in fields)
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(b"%d\n%b" % (len(request), request))
            pipe.flush()
        except BrokenPipeError:
            pass  # it died; the answer that does not come says so

    def _read_answer(self, messages: deque[bytes]) -> tuple[str, str]:
        """The next answer's word and detail, or `("", "")` when the child has died."""
        pipe = self._process.stdout
        assert pipe is not None
        while line := pipe.readline(_LINE_LENGTH):
            if line.startswith(self._mark):
                if not line.endswith(b"\n"):
                    line += pipe.readline()
                word, _, detail = line[len(self._mark) :].decode(errors="replace").strip().partition(" ")
                return word, detail
            messages.append(line)
        return "", ""

    def _explain_start(self, word: str, detail: str, messages: tuple[str, ...], limit: float) -> Outcome:
        if word == "absent":
            return Unavailable(f"ncnn is not installed; {_REMEDY}")
        if word == "broken":
            return Unavailable(f"ncnn cannot be imported ({detail}); {_REMEDY}")
        if self._timed_out:
            return Rejected(f"ncnn gave no answer within {limit:g} s", messages)
        last = f": {messages[-1]}" if messages else ""
        return Unavailable(f"ncnn cannot be imported ({self._cause_of_death()}{last}); {_REMEDY}")

    def _explain(self, word: str, detail: str, messages: tuple[str, ...], limit: float) -> Rejected:
        ncnn = f"ncnn {self._version}"
        match word:
            case "param":
                return Rejected(f"{ncnn} does not load the .param", messages)
            case "bin":
                return Rejected(f"{ncnn} loads the .param but not the .bin with it", messages)
            case "error":
                return Rejected(f"{ncnn} does not load it ({detail})", messages)
        if self._timed_out:
            return Rejected(f"{ncnn} gave no answer within {limit:g} s", messages)
        return Rejected(f"{ncnn} does not survive loading it ({self._cause_of_death()})", messages)

    def _explain_run(self, detail: str, messages: tuple[str, ...], limit: float) -> NotRunning | Loaded:
        if self._timed_out:
            return Loaded(self._version)  # it runs, and nobody waits for the end
        return NotRunning(detail or f"it ends the process ({self._cause_of_death()})", messages)

    def _cause_of_death(self) -> str:
        code = self._process.wait()
        if code >= 0:
            return f"exit code {code:#x}"
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"


def _spell_trial(trial: Trial) -> list[str]:
    feeds = [f"<{name}={'x'.join(map(str, sizes))}" for name, sizes in trial.feeds.items()]
    wanted = [
        f">{name}={'?' if sizes is None else 'x'.join(map(str, sizes))}"
        for name, sizes in trial.wanted.items()
    ]
    return feeds + wanted


def _describe_load(ncnn: str, bin: Path | None, stubs: tuple[str, ...], trailing: int) -> Loaded:
    owners = [stub for stub in stubs if has_weights(stub)]
    if bin is None:
        return Loaded(ncnn, stubs, "no .bin was given")
    if owners:
        return Loaded(ncnn, stubs, f"the .bin was not read: {', '.join(owners)} may own a part of it")
    return Loaded(ncnn, stubs, trailing=trailing)


def _readable(messages: Collection[bytes]) -> tuple[str, ...]:
    """The lines as text that is safe to print: what a file says may hold escape sequences."""
    lines = (line.decode(errors="backslashreplace").strip() for line in messages)
    return tuple("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) for line in lines if line)
