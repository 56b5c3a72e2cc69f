"""The hooks of `.pre-commit-hooks.yaml`, run by the real pre-commit from a git clone of this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PACKAGED = ("pnnxfix", "pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml")

CONFIG = """
repos:
- repo: {repo}
  rev: HEAD
  hooks:
  - id: {hook}
"""

pytest.importorskip("pre_commit", reason="the hooks are run by the real pre-commit")


def run(*command: str | Path, cwd: Path, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "PYTHON"))}
    environment |= {
        "PRE_COMMIT_HOME": str(home),
        "PRE_COMMIT_COLOR": "never",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        **{
            f"GIT_{who}_{what}": "a@example.org"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pre-commit's store: both hooks share the environment that it installs there."""
    return tmp_path_factory.mktemp("pre-commit-home")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Path:
    """A git repository with what this checkout holds now, committed or not."""
    path = tmp_path_factory.mktemp("clone")
    for name in PACKAGED:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, path / name)
    run("git", "init", "-q", cwd=path, home=home)
    run("git", "add", "-A", cwd=path, home=home)
    assert run("git", "commit", "-q", "-m", "checkout", cwd=path, home=home).returncode == 0
    return path


def use(tmp_path: Path, clone: Path, home: Path, hook: str) -> None:
    """A repository in which pre-commit runs one hook; skips where nothing can be installed."""
    revision = run("git", "rev-parse", "HEAD", cwd=clone, home=home).stdout.strip()
    run("git", "init", "-q", cwd=tmp_path, home=home)
    config = CONFIG.format(repo=clone, hook=hook).replace("HEAD", revision)
    (tmp_path / ".pre-commit-config.yaml").write_text(config)
    done = run(sys.executable, "-m", "pre_commit", "install", "--install-hooks", cwd=tmp_path, home=home)
    if done.returncode and "pip" in done.stdout and "No matching distribution" in done.stdout:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stdout


@pytest.fixture
def commit(tmp_path: Path, home: Path):  # type: ignore[no-untyped-def]
    def run_commit(*paths: str) -> subprocess.CompletedProcess[str]:
        run("git", "add", "--", *paths, cwd=tmp_path, home=home)
        return run("git", "commit", "-q", "-m", "change", cwd=tmp_path, home=home)

    return run_commit


def put(tmp_path: Path, case: str, folder: str) -> Path:
    shutil.copytree(CHECKOUT / "fixtures" / "20261020" / case, tmp_path / folder)
    return tmp_path / folder


def test_the_repair_stops_the_commit_once(tmp_path: Path, clone: Path, home: Path, commit) -> None:  # type: ignore[no-untyped-def]
    use(tmp_path, clone, home, "pnnxfix")
    model = put(tmp_path, "clamp-min-tenth", "my model")
    done = commit("my model/model.ncnn.param")
    assert done.returncode == 1
    assert (
        "also changed, stage them too: 'my model/model.pnnx.param' 'my model/model_pnnx.py'"
        in done.stdout + done.stderr
    )
    assert b"Clip" in (model / "model.ncnn.param").read_bytes()
    done = commit(".")
    assert done.returncode == 0, done.stderr


def test_the_check_repairs_nothing(tmp_path: Path, clone: Path, home: Path, commit) -> None:  # type: ignore[no-untyped-def]
    use(tmp_path, clone, home, "pnnxfix-check")
    model = put(tmp_path, "clamp-min-tenth", "model")
    before = (model / "model.ncnn.param").read_bytes()
    done = commit(".")
    assert done.returncode == 1
    assert "PNX101" in done.stderr
    assert (model / "model.ncnn.param").read_bytes() == before


def test_other_files_pass(tmp_path: Path, clone: Path, home: Path, commit) -> None:  # type: ignore[no-untyped-def]
    use(tmp_path, clone, home, "pnnxfix")
    (tmp_path / "pnnx.py").write_text("x = 1\n")
    (tmp_path / "a.param").write_text("x\n")
    done = commit(".")
    assert done.returncode == 0, done.stderr
    assert "no files to check" in done.stderr
