"""All-or-nothing replacement of a conversion's files, and what an interrupted one leaves."""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pnnxfix.errors import PnnxfixError
from pnnxfix.pipeline.lock import take_lock
from pnnxfix.pipeline.recovery import recover
from pnnxfix.pipeline.traces import JOURNAL, LOCK, pending, stamp
from pnnxfix.pipeline.transaction import Replacement, stage

SCRIPT = Path(__file__).with_name("interrupted_writer.py")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs fork, links and modes")


def _load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("interrupted_writer", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


writer = _load_script()
NAMES: tuple[str, ...] = writer.NAMES


def test_the_check_on_the_set_sees_a_mixture(tmp_path: Path) -> None:
    home = writer.make(tmp_path)
    assert writer.contents(home) == "old"
    (home / NAMES[0]).write_bytes(writer.new(NAMES[0]))
    with pytest.raises(AssertionError):
        writer.contents(home)


def test_commit_replaces_all(tmp_path: Path) -> None:
    home = writer.make(tmp_path)
    writer.commit(home)
    assert writer.contents(home) == "new"


def test_staged_content_is_readable_and_abort_leaves_nothing(tmp_path: Path) -> None:
    home = writer.make(tmp_path)
    with stage(writer.replacements(home)) as transaction:
        assert {path.name: staged.read_bytes() for path, staged in transaction.staged.items()} == {
            name: writer.new(name) for name in NAMES
        }
        assert transaction.staged[home / writer.LINKED].parent.name == "elsewhere"
        assert pending(os.listdir(home))
    assert writer.contents(home) == "old"
    assert not pending(os.listdir(home))
    with pytest.raises(ValueError, match="over"):
        transaction.commit()


def test_paths_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = writer.make(tmp_path)
    monkeypatch.chdir(home)
    writer.commit(Path())
    assert writer.contents(home) == "new"


def test_failure_at_any_call(tmp_path: Path) -> None:
    struck: list[int] = []

    def fail() -> None:
        struck.append(at)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    template = writer.make(tmp_path / "template").parent
    outcomes = []
    for at in range(1, 1000):
        base = tmp_path / str(at)
        shutil.copytree(template, base, symlinks=True)
        home = base / "model"
        work = writer.replacements(home)
        restore = writer.interrupt(at, fail)
        message = ""
        try:
            with stage(work) as transaction:
                transaction.commit()
        except PnnxfixError as error:
            message = str(error)
        finally:
            restore()
        if struck[-1:] != [at]:
            break
        unfinished = "the next run finishes" in message
        assert unfinished == (home / JOURNAL).exists()
        outcomes.append("unfinished" if unfinished else "error" if message else "fine")
        if message:
            assert "No space left on device; " in message
            assert "; free some space and run again" in message
        if unfinished:
            assert [item.path.name for item in recover(home)] == list(NAMES)
            assert writer.contents(home) == "new"
        else:
            # What cannot be deleted may stay behind, and then shows.
            if pending(os.listdir(home)):
                recover(home)
            assert writer.contents(home) == ("old" if message else "new")
            assert not message or "nothing was changed" in message
    assert outcomes.count("error") > 30
    assert outcomes.count("unfinished") >= 4


def test_keyboard_interrupt_between_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = writer.make(tmp_path)
    replace = os.replace

    def stop(source: Path, target: Path) -> None:
        if Path(target).name == NAMES[2]:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            writer.commit(home)
    assert (home / JOURNAL).exists()
    recover(home)
    assert writer.contents(home) == "new"


def test_content_that_fails_to_write_itself(tmp_path: Path) -> None:
    def fail(file: object) -> None:
        raise ZeroDivisionError

    home = writer.make(tmp_path)
    work = writer.replacements(home)
    work[2] = work[2]._replace(content=fail)
    with pytest.raises(ZeroDivisionError):
        stage(work)
    assert writer.contents(home) == "old"


def test_full_disk_for_real(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a small disk here")
    try:
        home = writer.make(disk)
        work = [each._replace(content=[bytes(20_000)]) for each in writer.replacements(home)]
        with pytest.raises(PnnxfixError, match="No space left on device; nothing was changed; free some"):
            stage(work)
        assert writer.contents(home) == "old"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o755, 0o664, 0o200 | 0o444])
def test_mode_is_kept(tmp_path: Path, mode: int) -> None:
    home = writer.make(tmp_path)
    for name in NAMES:
        (home / name).chmod(mode)
    writer.commit(home)
    assert writer.contents(home) == "new"
    assert {os.stat(home / name).st_mode & 0o7777 for name in NAMES} == {mode}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_owner_is_kept(tmp_path: Path) -> None:
    home = writer.make(tmp_path)
    os.chown(home / NAMES[0], 1234, 2345)
    writer.commit(home)
    status = os.stat(home / NAMES[0])
    assert (status.st_uid, status.st_gid) == (1234, 2345)


def _swap(path: Path) -> None:
    path.with_suffix(".swap").write_bytes(path.read_bytes())
    os.replace(path.with_suffix(".swap"), path)


@pytest.mark.parametrize("change", [writer.edit, _swap])
@pytest.mark.parametrize("when", ["before stage", "before commit"])
def test_changed_since_read(tmp_path: Path, change: Callable[[Path], None], when: str) -> None:
    home = writer.make(tmp_path)
    path = home / NAMES[1]
    work = writer.replacements(home)
    if when == "before stage":
        change(path)
        kept = path.read_bytes()
        with pytest.raises(PnnxfixError, match=r"net\.ncnn\.bin: has changed since it was read"):
            stage(work)
    else:
        with stage(work) as transaction:
            change(path)
            kept = path.read_bytes()
            with pytest.raises(PnnxfixError, match=r"net\.ncnn\.bin: has changed since it was read"):
                transaction.commit()
    assert path.read_bytes() == kept
    path.write_bytes(writer.old(NAMES[1]))
    assert writer.contents(home) == "old"


def test_file_deleted_since_read(tmp_path: Path) -> None:
    home = writer.make(tmp_path)
    with stage(writer.replacements(home)) as transaction:
        (home / NAMES[1]).unlink()
        with pytest.raises(PnnxfixError, match="No such file or directory; nothing was changed"):
            transaction.commit()
    assert not (home / NAMES[1]).exists()
    assert not pending(os.listdir(home))


@pytest.mark.parametrize("read_only", [NAMES[0], writer.LINKED, ".", "../elsewhere"])
def test_read_only_file_or_directory(tmp_path: Path, read_only: str) -> None:
    home = writer.make(tmp_path)
    path = home / read_only
    mode = path.stat().st_mode
    path.chmod(mode & ~0o222)
    try:
        with pytest.raises(PnnxfixError, match="is read-only; nothing was changed; make it writable"):
            stage(writer.replacements(home))
    finally:
        path.chmod(mode)
    assert writer.contents(home) == "old"


def test_two_names_of_one_file(tmp_path: Path) -> None:
    home = writer.make(tmp_path)
    (home / NAMES[0]).unlink()
    (home / NAMES[0]).symlink_to(NAMES[1])
    with pytest.raises(PnnxfixError, match="by a link"):
        stage(writer.replacements(home))
    assert not pending(os.listdir(home))


@pytest.mark.parametrize("target", ["/dev/null", "../elsewhere"])
def test_device_or_directory_behind_a_link_is_no_target(tmp_path: Path, target: str) -> None:
    home = writer.make(tmp_path)
    (home / NAMES[1]).unlink()
    (home / NAMES[1]).symlink_to(target)
    with pytest.raises(PnnxfixError, match="is not a plain file"):
        stage(writer.replacements(home))


def test_second_writer_fails_then_succeeds(tmp_path: Path) -> None:
    home = writer.make(tmp_path)
    work = writer.replacements(home)
    with stage(work) as transaction:
        with pytest.raises(PnnxfixError, match="another pnnxfix is writing here"):
            stage(work, wait=0.05)
        with pytest.raises(PnnxfixError, match="another pnnxfix is writing here"):
            recover(home, wait=0)
        transaction.commit()
    assert writer.contents(home) == "new"
    with pytest.raises(PnnxfixError, match="has changed since it was read"):
        stage(work)
    writer.commit(home)


def test_second_writer_waits(tmp_path: Path) -> None:
    home = writer.make(tmp_path)
    first = stage(writer.replacements(home))
    timer = threading.Timer(0.1, first.abort)
    timer.start()
    with stage(writer.replacements(home), wait=20) as second:
        second.commit()
    timer.join()
    assert writer.contents(home) == "new"


def test_many_writers_leave_one_set(tmp_path: Path) -> None:
    home = writer.make(tmp_path)
    code = (
        "import importlib.util as u, sys; from pathlib import Path\n"
        "s = u.spec_from_file_location('w', sys.argv[1])\n"
        "w = u.module_from_spec(s); s.loader.exec_module(w)\n"
        "from pnnxfix.errors import PnnxfixError\n"
        "done = 0\n"
        "for _ in range(20):\n"
        "    try: w.commit(Path(sys.argv[2])); done += 1\n"
        "    except PnnxfixError as e: assert 'another pnnxfix' in str(e) or 'has changed' in str(e), e\n"
        "print(done)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(SCRIPT), str(home)], env=environment, stdout=subprocess.PIPE
        )
        for _ in range(3)
    ]
    done = [int(child.communicate()[0]) for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert sum(done) >= 3
    assert writer.contents(home) == "new"


def test_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    home = writer.make(tmp_path)
    (tmp_path / "victim").write_bytes(b"precious")
    (home / LOCK).symlink_to("../victim")
    with pytest.raises(PnnxfixError, match="is no plain file"):
        writer.commit(home)
    with pytest.raises(PnnxfixError, match="is no plain file"):
        recover(home)
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    home = writer.make(tmp_path)
    path = home / NAMES[0]
    whole = {writer.old(NAMES[0]), writer.new(NAMES[0])}
    seen: set[bytes] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(20):
            writer.commit(home)
            with stage([Replacement(path, stamp(path), [writer.old(NAMES[0])])]) as transaction:
                transaction.commit()
            time.sleep(0.001)
    finally:
        stop.set()
        reader.join()
    assert seen == whole


def test_lock_file_that_was_removed_while_waiting_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = take_lock(tmp_path, wait=0)
    system_open = os.open

    def open_then_lose(*args: Any) -> int:
        monkeypatch.setattr(os, "open", system_open)
        descriptor = system_open(*args)
        first.release()
        return descriptor

    monkeypatch.setattr(os, "open", open_then_lose)
    second = take_lock(tmp_path, wait=1)
    with pytest.raises(PnnxfixError, match="another pnnxfix is writing here"):
        take_lock(tmp_path, wait=0)
    second.release()
    assert os.listdir(tmp_path) == []
