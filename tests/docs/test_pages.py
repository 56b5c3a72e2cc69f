"""The documentation says what is so: its commands are run, its settings read, its links followed."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MAKE_DOCS: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "make_docs.py"))
PAGES: list[Path] = [*MAKE_DOCS["PAGES"], ROOT / "CHANGELOG.md"]
MARKED = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE
)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")


def name(value: object) -> str:
    return value.relative_to(ROOT).as_posix() if isinstance(value, Path) else ""


def find_blocks(kind: str) -> list[tuple[Path, str, str]]:
    """Page, mark and body of every fenced block of a kind."""
    return [
        (page, match["mark"] or "", match["body"])
        for page in PAGES
        for match in MARKED.finditer(page.read_text())
        if match["kind"] == kind
    ]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_outputs_and_tables_are_current(page: Path) -> None:
    text = page.read_text()
    assert MAKE_DOCS["render_page"](text) == text, "run `make docs` and read the difference"


def test_an_output_that_is_not_real_is_replaced() -> None:
    page = "<!-- run: clamp-min-tenth -->\n```console\n$ ls *.onnx\ninvented\n```\n"
    assert MAKE_DOCS["render_page"](page) == page.replace("invented", "model.pnnx.onnx")


def test_a_table_that_another_command_measures_stays() -> None:
    page = "<!-- table: convert -->\n\n| measured |\n\n<!-- /table -->\n"
    assert MAKE_DOCS["render_page"](page) == page


def test_an_exit_code_that_is_not_stated_is_an_error() -> None:
    with pytest.raises(SystemExit, match="exit 3, not 0"):
        MAKE_DOCS["render_page"]("<!-- run: git -->\n```console\n$ exit 3\n```\n")


@pytest.mark.parametrize(("page", "mark", "body"), find_blocks("console"), ids=name)
def test_every_console_block_is_run(page: Path, mark: str, body: str) -> None:
    assert mark.startswith("run"), body


@pytest.mark.parametrize(("page", "mark", "body"), find_blocks("python"), ids=name)
def test_python_runs(page: Path, mark: str, body: str, tmp_path: Path, environment: dict[str, str]) -> None:
    case = mark.removeprefix("run python: ")
    shutil.copytree(ROOT / "fixtures" / "20261020" / case, tmp_path, dirs_exist_ok=True)
    command = [sys.executable, "-c", body]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "PNX101" in done.stdout


@pytest.mark.parametrize(("page", "mark", "body"), find_blocks("toml"), ids=name)
def test_settings_are_read(page: Path, mark: str, body: str, tmp_path: Path) -> None:
    from pnnxfix.cli.settings import make_options

    config = tmp_path / "pyproject.toml"
    config.write_text(body)
    options = make_options((tmp_path,), config, {})
    assert "YoloV5Focus" in options.custom_layers


@pytest.mark.parametrize(
    ("page", "mark", "body"), [block for block in find_blocks("yaml") if "repos:" in block[2]], ids=name
)
def test_pre_commit_takes_the_configuration(page: Path, mark: str, body: str, tmp_path: Path) -> None:
    pytest.importorskip("pre_commit", reason="pre-commit itself validates the configuration")
    config = tmp_path / "config.yaml"
    config.write_text(body)
    command = [sys.executable, "-m", "pre_commit", "validate-config", str(config)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    offered = re.findall(r"^- id: (.*)$", (ROOT / ".pre-commit-hooks.yaml").read_text(), re.MULTILINE)
    assert set(re.findall(r"- id: (\S+)", body)) <= set(offered)


@pytest.mark.parametrize(("page", "mark", "body"), find_blocks("sh"), ids=name)
def test_shell_blocks_name_what_there_is(page: Path, mark: str, body: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make (\w+)", body, re.MULTILINE)) <= targets
    # `erfcx` is the operator that CONTRIBUTING adds.
    paths = [
        word
        for word in re.findall(r"[\w./-]*/[\w./-]+", body)
        if not word.startswith(".venv") and "erfcx" not in word
    ]
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for match in LINK.finditer(page.read_text()):
        target, _, anchor = match["target"].partition("#")
        if target.startswith(("https:", "http:")):
            continue
        other = (page.parent / target).resolve() if target else page
        if not other.exists() or (anchor and anchor not in anchors(other)):
            broken.append(match["target"])
    assert broken == []


def test_readme_leads_to_every_page() -> None:
    targets = {match["target"].partition("#")[0] for match in LINK.finditer((ROOT / "README.md").read_text())}
    assert {name(page) for page in PAGES if page.name != "README.md"} <= targets
