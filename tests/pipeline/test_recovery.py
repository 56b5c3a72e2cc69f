"""What an interrupted write leaves, what finishes or undoes it, and what must not be believed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from pnnxfix.errors import PnnxfixError
from pnnxfix.pipeline.recovery import Recovered, recover
from pnnxfix.pipeline.traces import JOURNAL, LOCK, pending, staged_name

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


def run_until_complete(action: str, base: Path) -> int:
    """Runs the script and gives the number of runs that were killed."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), action, str(base)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    at, exit_code = map(int, done.stdout.split())
    assert exit_code == 0, done.stderr
    return at - 1


def test_kill_at_any_call_of_a_commit(tmp_path: Path) -> None:
    writer.make(tmp_path / "template")
    killed = run_until_complete("commit", tmp_path)
    outcomes = []
    for at in range(1, killed + 1):
        home = tmp_path / str(at) / "model"
        recovered = recover(home)
        outcomes.append(writer.contents(home))
        finished = {item.path.name for item in recovered if item.finished}
        assert finished in (set(), set(NAMES))
        assert not finished or outcomes[-1] == "new"
        assert recover(home) == []
    assert writer.contents(tmp_path / str(killed + 1) / "model") == "new"
    # One commit point: old before it, new after it, and both sides were met.
    assert outcomes == sorted(outcomes, reverse=True)
    assert outcomes.count("old") > 30
    assert outcomes.count("new") > 8


@pytest.mark.parametrize("state", ["staging", "committed", "half renamed", "all renamed"])
def test_kill_at_any_call_of_a_recovery(tmp_path: Path, state: str) -> None:
    home = writer.make(tmp_path / "template")
    writer.leave_interrupted(home, state)
    killed = run_until_complete("recover", tmp_path)
    assert killed > 5
    for at in range(1, killed + 1):
        home = tmp_path / str(at) / "model"
        recover(home)
        assert writer.contents(home) == ("old" if state == "staging" else "new")


def test_stage_refuses_over_an_interrupted_write(tmp_path: Path) -> None:
    home = writer.make(tmp_path)
    writer.leave_interrupted(home, "committed")
    before = sorted(os.listdir(home))
    with pytest.raises(PnnxfixError, match="a repair was interrupted here"):
        writer.commit(home)
    assert sorted(os.listdir(home)) == before
    recover(home)
    assert writer.contents(home) == "new"


def test_recover_says_what_it_did(tmp_path: Path) -> None:
    home = writer.make(tmp_path)
    assert recover(home) == []
    staged = writer.leave_interrupted(home, "staging")
    assert sorted(item.path for item in recover(home)) == sorted(staged.values())
    writer.leave_interrupted(home, "half renamed")
    assert recover(home) == [Recovered(home / name, finished=True) for name in NAMES]


def test_old_set_with_a_lost_staged_file_is_kept(tmp_path: Path) -> None:
    home = writer.make(tmp_path)
    staged = writer.leave_interrupted(home, "committed")
    staged[home / NAMES[3]].unlink()
    assert not any(item.finished for item in recover(home))
    assert writer.contents(home) == "old"


def _snapshot(base: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(base.rglob("*")) if p.is_file() and p.name != LOCK}


def _damage_staged(home: Path, staged: dict[Path, Path]) -> None:
    staged[home / NAMES[2]].write_bytes(b"x" * len(writer.new(NAMES[2])))


def _lose_staged(home: Path, staged: dict[Path, Path]) -> None:
    staged[home / NAMES[2]].unlink()


def _edit_waiting(home: Path, staged: dict[Path, Path]) -> None:
    writer.edit(home / NAMES[2])


def _edit_done(home: Path, staged: dict[Path, Path]) -> None:
    writer.edit(home / NAMES[0])


def _point_link_elsewhere(home: Path, staged: dict[Path, Path]) -> None:
    (home.parent / "third").mkdir()
    (home.parent / "third" / "victim").write_bytes(b"precious")
    (home / writer.LINKED).unlink()
    (home / writer.LINKED).symlink_to("../third/victim")


def _link_as_staged(home: Path, staged: dict[Path, Path]) -> None:
    path = staged[home / NAMES[2]]
    path.rename(home / "moved")
    path.symlink_to("moved")


@pytest.mark.parametrize(
    "damage",
    [_damage_staged, _lose_staged, _edit_waiting, _edit_done, _point_link_elsewhere, _link_as_staged],
)
def test_hopeless_mixture_is_left_alone(
    tmp_path: Path, damage: Callable[[Path, dict[Path, Path]], None]
) -> None:
    home = writer.make(tmp_path)
    damage(home, writer.leave_interrupted(home, "half renamed"))
    before = _snapshot(tmp_path)
    with pytest.raises(PnnxfixError, match=r"Nothing was changed\. Restore these files") as caught:
        recover(home)
    assert all(name in str(caught.value) for name in NAMES)
    assert _snapshot(tmp_path) == before
    # The remedy works, and the leftovers in the directory that the link leads to go too.
    (home / JOURNAL).unlink()
    recover(home)
    assert not pending(os.listdir(home))
    assert not any(name.startswith(".") for name in os.listdir((home / writer.LINKED).resolve().parent))


def _journal(home: Path, **changes: object) -> bytes:
    data = json.loads((home / JOURNAL).read_bytes())
    return json.dumps(data | changes).encode()


def _renamed(home: Path, name: str) -> bytes:
    data = json.loads((home / JOURNAL).read_bytes())
    data["files"][0]["name"] = name
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda home: (home / JOURNAL).read_bytes()[:200], id="truncated"),
        pytest.param(lambda home: b"", id="empty"),
        pytest.param(lambda home: b"\xff\xfe\x00", id="binary"),
        pytest.param(lambda home: b"[" * 200_000, id="deep"),
        pytest.param(lambda home: b" " * (2 << 20), id="huge"),
        pytest.param(lambda home: b'{"version": ' + b"9" * 10_000 + b"}", id="huge-number"),
        pytest.param(lambda home: b"null", id="null"),
        pytest.param(lambda home: _journal(home, version=1), id="version"),
        pytest.param(lambda home: _journal(home, token="../../../etc/aaa"), id="token"),
        pytest.param(lambda home: _journal(home, files=[]), id="no-files"),
        pytest.param(lambda home: _journal(home, files=[{"name": "a"}]), id="fields"),
        pytest.param(lambda home: _renamed(home, "../elsewhere/net_pnnx.py"), id="parent"),
        pytest.param(lambda home: _renamed(home, str(home / NAMES[0])), id="absolute"),
        pytest.param(lambda home: _renamed(home, ".."), id="dots"),
        pytest.param(lambda home: _renamed(home, ""), id="empty-name"),
        pytest.param(lambda home: _renamed(home, "a\0b"), id="nul"),
        pytest.param(lambda home: _renamed(home, "\ud800"), id="surrogate"),
        pytest.param(lambda home: _renamed(home, LOCK), id="lock"),
        pytest.param(lambda home: _renamed(home, NAMES[1]), id="twice"),
    ],
)
def test_journal_that_is_none(tmp_path: Path, forge: Callable[[Path], bytes]) -> None:
    home = writer.make(tmp_path)
    writer.leave_interrupted(home, "half renamed")
    (home / JOURNAL).write_bytes(forge(home))
    before = _snapshot(tmp_path)
    with pytest.raises(PnnxfixError, match=r"journal of an interrupted repair cannot be used .* delete it"):
        recover(home)
    assert _snapshot(tmp_path) == before


def test_journal_that_is_a_link_or_directory(tmp_path: Path) -> None:
    home = writer.make(tmp_path)
    writer.leave_interrupted(home, "committed")
    (home / JOURNAL).rename(home / "journal")
    (home / JOURNAL).symlink_to("journal")
    with pytest.raises(PnnxfixError, match="cannot be used"):
        recover(home)
    (home / JOURNAL).unlink()
    (home / JOURNAL).mkdir()
    with pytest.raises(PnnxfixError, match="cannot be used"):
        recover(home)


@pytest.mark.parametrize("hide", ["beside the victim's link", "in the repository, as if inside"])
def test_hostile_repository_overwrites_nothing_outside(tmp_path: Path, hide: str) -> None:
    """A journal, a link out of the repository and matching content, all three made by an attacker."""
    (tmp_path / "home").mkdir()
    victim = tmp_path / "home" / "config"
    victim.write_bytes(b"precious")
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "net.ncnn.param").symlink_to(victim)
    token, evil = "0123456789abcdef", b"evil content"
    entry = {
        "name": "net.ncnn.param",
        "size": len(evil),
        "crc32": zlib.crc32(evil),
        "old_size": 8,
        "old_mtime_ns": victim.stat().st_mtime_ns,
    }
    (repository / staged_name(token, 0, linked=hide.startswith("beside"))).write_bytes(evil)
    (repository / JOURNAL).write_text(json.dumps({"version": 2, "token": token, "files": [entry]}))
    (repository / LOCK).write_text(token)
    assert not any(item.finished for item in recover(repository))
    assert victim.read_bytes() == b"precious"
    assert os.listdir(tmp_path / "home") == ["config"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_staged_file_of_a_stranger_is_not_taken(tmp_path: Path) -> None:
    home = writer.make(tmp_path)
    staged = writer.leave_interrupted(home, "committed")
    os.chown(staged[home / writer.LINKED], 1234, -1)
    recover(home)
    assert writer.contents(home) == "old"


def test_leftovers_of_others_are_kept(tmp_path: Path) -> None:
    home = writer.make(tmp_path)
    writer.leave_interrupted(home, "committed")
    # The directory that holds a linked target is also a conversion's own: it must not take the staged
    # file for its leftover, or the journal could not be fulfilled.
    elsewhere = tmp_path / "elsewhere"
    assert not pending(os.listdir(elsewhere))
    (elsewhere / LOCK).touch()
    assert recover(elsewhere) == []
    for name in (".pnnxfix.toml", ".pnnxfix-notes.tmp", f"{staged_name('0' * 16, 0, linked=False)}.bak"):
        (home / name).touch()
        assert not pending([name])
    recover(home)
    assert {name for name in os.listdir(home) if name.startswith(".")} == {
        ".pnnxfix.toml",
        ".pnnxfix-notes.tmp",
        f"{staged_name('0' * 16, 0, linked=False)}.bak",
    }


def test_the_names_cost_no_heavy_import() -> None:
    code = (
        "import sys, pnnxfix.pipeline.traces\n"
        "print(sorted({'json', 'hashlib', 'tempfile', 'fcntl', 'shutil', 'subprocess'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
    assert done.stdout == b"[]\n"
