"""A small conversion whose writer dies, or fails, at the n-th call to the operating system.

`python interrupted_writer.py commit|recover BASE`: copies BASE/template to BASE/<n> for n = 1, 2, …, works
there in a forked child that kills itself before call n, and prints the number and the exit code of the
first run that was not killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from pnnxfix.pipeline.recovery import recover
from pnnxfix.pipeline.traces import stamp
from pnnxfix.pipeline.transaction import Replacement, stage

NAMES = ("net.ncnn.param", "net.ncnn.bin", "net.pnnx.param", "net_pnnx.py")
LINKED = "net_pnnx.py"  # its target lies in the directory `elsewhere`
CALLS = (
    "open", "write", "fsync", "replace", "rename", "unlink", "remove", "chmod", "chown", "close", "lseek",
    "ftruncate", "read", "stat", "lstat", "listdir",
)  # fmt: skip


def old(name: str) -> bytes:
    return f"old {name}\n".encode() * 300


def new(name: str) -> bytes:
    return f"new {name}\r\n".encode() * 500


def make(base: Path) -> Path:
    """A directory of four files, one of them a link to another directory; its path."""
    home = base / "model"
    home.mkdir(parents=True)
    (base / "elsewhere").mkdir()
    for name in NAMES:
        (base / ("elsewhere" if name == LINKED else "model") / name).write_bytes(old(name))
    (home / LINKED).symlink_to(Path("..", "elsewhere", LINKED))
    (home / "unrelated.txt").write_text("unrelated")
    return home


def stream(file: BinaryIO) -> None:
    content = new("net.ncnn.bin")
    file.write(content[:1000])
    file.flush()
    os.stat(file.fileno())  # a place to die at with half a file written
    file.write(content[1000:])


def replacements(home: Path) -> list[Replacement]:
    contents = {name: stream if name == "net.ncnn.bin" else [new(name)] for name in NAMES}
    return [Replacement(home / name, stamp(home / name), content) for name, content in contents.items()]


def commit(home: Path) -> None:
    with stage(replacements(home), wait=0) as transaction:
        transaction.commit()


def contents(home: Path) -> str:
    """`old` or `new` for the whole set; anything else fails, as do leftovers and a lost link."""
    assert sorted(os.listdir(home)) == sorted([*NAMES, "unrelated.txt"])
    assert os.listdir(home.parent / "elsewhere") == [LINKED]
    assert (home / LINKED).is_symlink()
    found = {name: (home / name).read_bytes() for name in NAMES}
    if found == {name: old(name) for name in NAMES}:
        return "old"
    assert found == {name: new(name) for name in NAMES}
    return "new"


def leave_interrupted(home: Path, state: str) -> dict[Path, Path]:
    """What a kill leaves: staged files; with a journal; with two or all targets renamed."""
    transaction = stage(replacements(home))
    staged = transaction.staged
    if state != "staging":
        transaction._record()
        count = {"committed": 0, "half renamed": 2, "all renamed": 4}[state]
        for path, content in list(staged.items())[:count]:
            os.replace(content, os.path.realpath(path))
    # A kill closes the descriptor and does no more.
    assert transaction._lock is not None
    os.close(transaction._lock.descriptor)
    return staged


def edit(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"edited\n")


def interrupt(at: int, strike: Callable[[], None]) -> Callable[[], None]:
    """Calls `strike` before the `at`-th of CALLS; the result puts the functions back."""
    count = 0
    originals = {name: getattr(os, name) for name in CALLS}

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == at:
                strike()
            return function(*args, **kwargs)

        return call

    for name, function in originals.items():
        setattr(os, name, wrap(function))

    def restore() -> None:
        for name, function in originals.items():
            setattr(os, name, function)

    return restore


def main(action: str, base: Path) -> None:
    work = commit if action == "commit" else recover
    for at in range(1, 1000):
        shutil.copytree(base / "template", base / str(at), symlinks=True)
        child = os.fork()
        if not child:
            interrupt(at, lambda: os.kill(os.getpid(), signal.SIGKILL))
            work(base / str(at) / "model")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            print(at, os.waitstatus_to_exitcode(status))
            return


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
