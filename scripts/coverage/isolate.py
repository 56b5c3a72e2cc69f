"""Runs each task in a forked child, so that a crash or an endless loop costs one task and not the run.

The parent imports what is heavy once; a fork then costs milliseconds. It must hold no second thread.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait

ADDRESS_SPACE = 16 << 30
"""Bytes that a child may map. A size that pnnx let overflow asks for all memory there is."""


@dataclass(frozen=True, slots=True)
class Died:
    """A task that gave no result, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Running:
    name: str
    pid: int
    deadline: float


def run_isolated(
    tasks: Iterable[tuple[str, Callable[[], object]]], jobs: int, seconds: float
) -> Iterator[tuple[str, object]]:
    """Each task's name and result (or `Died`), as they end; `jobs` at a time.

    Results must be picklable. A task and all that it started are killed after `seconds`.
    """
    waiting = iter(tasks)
    running: dict[Connection, _Running] = {}
    try:
        while True:
            while len(running) < jobs and (task := next(waiting, None)) is not None:
                connection, child = _start(*task, time.monotonic() + seconds)
                running[connection] = child
            if not running:
                return
            patience = max(0.0, min(child.deadline for child in running.values()) - time.monotonic())
            ready = [item for item in wait(list(running), patience) if isinstance(item, Connection)]
            for connection in ready:
                child = running.pop(connection)
                yield child.name, _finish(connection, child)
            late = [item for item, child in running.items() if child.deadline <= time.monotonic()]
            for connection in late:
                child = running.pop(connection)
                _kill(connection, child)
                yield child.name, Died(f"no answer within {seconds:.0f} s")
    finally:
        for connection, child in running.items():
            _kill(connection, child)


def _start(name: str, task: Callable[[], object], deadline: float) -> tuple[Connection, _Running]:
    receiver, sender = Pipe(duplex=False)
    pid = os.fork()
    if pid == 0:
        # A group of its own, so that what the task starts can be killed with it.
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, resource.RLIM_INFINITY))
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        try:
            sender.send(task())
        except BaseException as error:
            sender.send(Died(f"{type(error).__name__}: {error}"))
        # Destructors of a library that a task has broken must not change its result.
        os._exit(0)
    sender.close()
    return receiver, _Running(name, pid, deadline)


def _finish(connection: Connection, child: _Running) -> object:
    try:
        result: object = connection.recv()
    except EOFError:
        _, status = os.waitpid(child.pid, 0)
        if os.WIFSIGNALED(status):
            return Died(signal.Signals(os.WTERMSIG(status)).name)
        return Died(f"exit code {os.WEXITSTATUS(status)}")
    else:
        os.waitpid(child.pid, 0)
        return result
    finally:
        connection.close()


def _kill(connection: Connection, child: _Running) -> None:
    # The group may not exist yet, the child always does.
    for kill in (os.killpg, os.kill):
        try:
            kill(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    os.waitpid(child.pid, 0)
    connection.close()
