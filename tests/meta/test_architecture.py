"""The rooms of the package: who imports whom, as docs/architecture.md states it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pnnxfix"
MODULES = sorted(PACKAGE.rglob("*.py"))
SHARED = {"errors", "options", "report"}
ALLOWED: dict[str, set[str]] = {
    "cli": {"conversion", "verify", "pipeline", "rules"},
    "conversion": {"verify", "pipeline", "rules", "codecs"},
    "verify": {"pipeline", "graph", "codecs"},
    "pipeline": {"rules", "graph", "codecs", "data"},
    "rules": {"graph", "codecs", "data"},
    "graph": set(),
    "codecs": set(),
    "data": set(),
    # The package itself and its shared vocabulary.
    "__init__": {"conversion", "pipeline"},
    "__main__": {"cli"},
    "errors": set(),
    "options": set(),
    "report": set(),
}
# A node of the ONNX container is an operator, and the codec writes one into the other.
EXCEPTIONS = {("pnnxfix/codecs/onnx_graph.py", "graph")}
LONGEST = 400


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def find_room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def find_imports(source: str) -> Iterator[str]:
    """The rooms that a module imports, in functions and for types, too."""
    for node in ast.walk(ast.parse(source)):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the room"
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # The command line imports its subcommands by name.
            named = re.match(r"pnnxfix\.(\w+)[.\w]*$", node.value)
            modules = [node.value] if named and named[1] in ALLOWED else []
        for module in modules:
            first, *rest = module.split(".")
            # `from pnnxfix import __version__` is no room.
            if first == "pnnxfix" and rest and not rest[0].startswith("__"):
                yield rest[0]


def find_violations(path: Path) -> set[str]:
    room = find_room(path)
    imported = set(find_imports(path.read_text()))
    return imported - ALLOWED[room] - SHARED - {room}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_room_imports_only_those_below(path: Path) -> None:
    assert {room for room in find_violations(path) if (name(path), room) not in EXCEPTIONS} == set()


def test_every_exception_is_needed() -> None:
    assert {(name(path), room) for path in MODULES for room in find_violations(path)} == EXCEPTIONS


@pytest.mark.parametrize(
    "source",
    [
        "from pnnxfix.cli import app",
        "import pnnxfix.cli.app",
        "from pnnxfix import cli",
        "def f():\n    from pnnxfix.cli.app import app",
        "import_module('pnnxfix.cli.app')",
    ],
)
def test_every_form_of_import_is_seen(source: str) -> None:
    assert list(find_imports(source)) == ["cli"]


def test_the_page_states_the_same() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([^;|]*)", page, re.MULTILINE)
    stated = {room: set(re.findall(r"`(\w+)`", cell)) for room, cell in rows}
    assert stated == {room: rooms for room, rooms in ALLOWED.items() if (PACKAGE / room).is_dir()}


def test_the_page_names_modules_that_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"`(\w+/[\w/]+\.py)`", page)
    assert len(named) > 8
    assert [path for path in named if not (PACKAGE / path).is_file()] == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_module_is_too_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_every_module_says_what_it_is(path: Path) -> None:
    module = ast.parse(path.read_text())
    if module.body:
        assert ast.get_docstring(module)
    if module.body[1:]:
        first = module.body[1]
        assert isinstance(first, ast.ImportFrom)
        assert first.module == "__future__"
