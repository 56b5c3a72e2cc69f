"""`install-hook` and the hook, in a real git repository."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Place

MODEL = "model.ncnn.param"


class Repository:
    """A git repository of its own, without the user's settings."""

    def __init__(self, path: Path, environment: dict[str, str]) -> None:
        self.path = path
        self.environment = {
            **{key: value for key, value in environment.items() if not key.startswith("GIT_")},
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@example.org",
        }
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q")

    def git(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return self._run("git", *argv)

    def pnnxfix(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return self._run(sys.executable, "-m", "pnnxfix", *argv)

    def commit(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return self.git("commit", "-q", "-m", "change", *argv)

    def commits(self) -> int:
        return len(self.git("rev-list", "--all").stdout.split())

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.path, env=self.environment, capture_output=True, text=True, check=False
        )


@pytest.fixture
def repository(place: Place, tmp_path: Path, environment: dict[str, str]) -> Repository:
    return Repository(tmp_path, environment)


def hook_of(repository: Repository) -> Path:
    return repository.path / ".git" / "hooks" / "pre-commit"


def test_installing_twice_changes_nothing(repository: Repository) -> None:
    assert repository.pnnxfix("install-hook").stdout == ".git/hooks/pre-commit: installed\n"
    before = hook_of(repository).read_bytes()
    assert os.access(hook_of(repository), os.X_OK)
    assert repository.pnnxfix("install-hook").stdout == ".git/hooks/pre-commit: already installed\n"
    assert hook_of(repository).read_bytes() == before
    assert repository.pnnxfix("install-hook", "--check").stdout == ".git/hooks/pre-commit: renewed\n"
    assert hook_of(repository).read_bytes() != before


@pytest.mark.parametrize(
    ("foreign", "remedy"),
    [
        ("#!/bin/sh\nmake lint\n", "staged || exit 1"),
        ("# https://pre-commit.com\n", ".pre-commit-config.yaml"),
    ],
)
def test_a_hook_of_other_origin_stays(repository: Repository, foreign: str, remedy: str) -> None:
    hook_of(repository).parent.mkdir(exist_ok=True)
    hook_of(repository).write_text(foreign)
    done = repository.pnnxfix("install-hook")
    assert done.returncode == 2
    assert remedy in done.stderr
    assert hook_of(repository).read_text() == foreign


def test_the_line_for_another_hook_works(repository: Repository, place: Place) -> None:
    hook_of(repository).parent.mkdir(exist_ok=True)
    hook_of(repository).write_text("#!/bin/sh\n")
    line = repository.pnnxfix("install-hook").stderr.partition("add this line to it: ")[2]
    hook_of(repository).write_text(f"#!/bin/sh\n{line}\necho reached >&2\n")
    hook_of(repository).chmod(0o755)
    place.put("clamp-min-tenth")
    repository.git("add", MODEL)
    done = repository.commit()
    assert done.returncode == 1
    assert "reached" not in done.stderr
    repository.git("add", "-A")
    done = repository.commit()
    assert (done.returncode, "reached" in done.stderr) == (0, True)


def test_outside_of_a_repository(place: Place) -> None:
    assert place.run("install-hook").code == 2


def test_the_hook_stands_where_git_looks(repository: Repository, tmp_path: Path) -> None:
    repository.git("config", "core.hooksPath", "my hooks")
    assert repository.pnnxfix("install-hook").returncode == 0
    assert (tmp_path / "my hooks" / "pre-commit").is_file()
    assert not hook_of(repository).exists()


def test_in_a_worktree(repository: Repository, place: Place, environment: dict[str, str]) -> None:
    (place.path / "first").write_text("")
    repository.git("add", "first")
    repository.commit()
    assert repository.git("worktree", "add", "-q", "tree").returncode == 0
    tree = Repository.__new__(Repository)
    tree.path, tree.environment = place.path / "tree", repository.environment
    assert tree.pnnxfix("install-hook").returncode == 0
    assert hook_of(repository).is_file()
    place.put("clamp-min-tenth", "tree/deep")
    tree.git("add", "-A")
    assert tree.commit().returncode == 1
    tree.git("add", "-A")
    assert tree.commit().returncode == 0


def test_a_commit_without_a_conversion_passes(repository: Repository, place: Place) -> None:
    repository.pnnxfix("install-hook")
    # A program that does not exist proves that the hook ends before it starts one.
    text = hook_of(repository).read_text()
    hook_of(repository).write_text(text.replace("exec ", "exec /nonexistent/"))
    place.write("notes.txt", "x")
    repository.git("add", "-A")
    assert repository.commit().returncode == 0


def test_a_repair_stops_the_commit_once(repository: Repository, place: Place) -> None:
    repository.pnnxfix("install-hook")
    place.put("clamp-min-tenth", "my models")
    repository.git("add", f"my models/{MODEL}")
    done = repository.commit()
    assert done.returncode == 1
    assert repository.commits() == 0
    assert f"git add -- ':/my models/{MODEL}'" in done.stderr
    assert "also changed, stage them too: 'my models/model.pnnx.onnx' 'my models/" in done.stderr
    repository.git("add", "-A")
    done = repository.commit()
    assert (done.returncode, repository.commits()) == (0, 1), done.stderr


def test_a_repair_from_below(repository: Repository, place: Place) -> None:
    repository.pnnxfix("install-hook")
    place.put("clamp-min-tenth", "deep")
    repository.git("add", "-A")
    repository.path = repository.path / "deep"
    done = repository.commit()
    assert done.returncode == 1
    advice = next(line for line in done.stderr.splitlines() if "git add -- " in line)
    repository.git(*shlex.split(advice)[1:])
    assert repository.commit().returncode == 0


def test_names_with_dashes_blanks_and_newlines(repository: Repository, place: Place) -> None:
    repository.pnnxfix("install-hook")
    for file in place.put("clamp-min-tenth", "-x\ny z").iterdir():
        shutil.copy(file, place.path / f"--version {file.name}")
    repository.git("add", "-A")
    assert repository.commit().returncode == 1
    assert b"Clip" in (place.path / f"--version {MODEL}").read_bytes()
    assert b"Clip" in (place.path / "-x\ny z" / MODEL).read_bytes()
    repository.git("add", "-A")
    assert repository.commit().returncode == 0


def test_check_only_repairs_nothing(repository: Repository, place: Place) -> None:
    repository.pnnxfix("install-hook", "--check")
    place.put("clamp-min-tenth")
    repository.git("add", "-A")
    before = (place.path / MODEL).read_bytes()
    done = repository.commit()
    assert done.returncode == 1
    assert "PNX101" in done.stderr + done.stdout
    assert (place.path / MODEL).read_bytes() == before


def test_files_staged_in_part_are_explained(repository: Repository, place: Place) -> None:
    repository.pnnxfix("install-hook")
    place.put("normalize")
    repository.git("add", "-A")
    path = place.path / MODEL
    before = path.read_bytes() + b"\n"
    path.write_bytes(before)
    done = repository.commit()
    assert done.returncode == 1
    assert "staged in part" in done.stderr
    assert f"git add -- :/{MODEL}" in done.stderr
    assert path.read_bytes() == before


def test_a_deleted_file_is_not_looked_for(repository: Repository, place: Place) -> None:
    place.put("normalize")
    repository.git("add", "-A")
    repository.commit()
    repository.pnnxfix("install-hook")
    repository.git("rm", "-q", "-r", ".")
    assert repository.commit().returncode == 0


def test_commit_all_is_seen(repository: Repository, place: Place) -> None:
    place.put("normalize")
    repository.git("add", "-A")
    repository.commit()
    repository.pnnxfix("install-hook")
    place.put("clamp-min-tenth")
    assert repository.commit("-a").returncode == 1
    assert repository.commit("-a").returncode == 0
