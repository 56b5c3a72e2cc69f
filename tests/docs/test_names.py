"""Everything that a user can type or meet is named in the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pnnxfix.cli.app import app
from pnnxfix.cli.config import _READERS
from pnnxfix.cli.parameters import FORMATS
from pnnxfix.rules.catalogue import entries
from pnnxfix.rules.registry import operator_rules

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Headings and links do not explain; neither do names that commands printed.
TEXT = re.sub(r"```console\n.*?```", "", "\n".join(page.read_text() for page in PAGES), flags=re.DOTALL)


def is_named(word: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", TEXT) is not None


def find_options() -> Iterator[str]:
    context = click.Context(app)
    for name in app.list_commands(context):
        command = app.get_command(context, name)
        assert command is not None
        yield from (
            word
            for parameter in command.params
            if isinstance(parameter, click.Option)
            for word in (*parameter.opts, *parameter.secondary_opts)
            if word.startswith("--") and word not in ("--help", "--quiet")
        )


@pytest.mark.parametrize("option", sorted(set(find_options())))
def test_options(option: str) -> None:
    assert is_named(option)


@pytest.mark.parametrize("command", app.list_commands(click.Context(app)))
def test_commands(command: str) -> None:
    assert is_named(f"pnnxfix {command}")


@pytest.mark.parametrize("hook", re.findall(r"- id: (.*)", (ROOT / ".pre-commit-hooks.yaml").read_text()))
def test_hooks(hook: str) -> None:
    assert is_named(f"`{hook}`")


@pytest.mark.parametrize("key", sorted(_READERS))
def test_settings(key: str) -> None:
    assert is_named(key)


@pytest.mark.parametrize("output_format", FORMATS)
def test_formats(output_format: str) -> None:
    assert is_named(f"`{output_format}`")


def test_codes_stand_in_the_readme() -> None:
    """One row each; those of the console have a page of their own."""
    rows = re.findall(r"^\| \[?(PNX\d+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    rows += re.findall(r"^\| (PNX5\d+) \|", (ROOT / "docs" / "console.md").read_text(), re.MULTILINE)
    assert sorted(set(rows)) == [entry.code for entry in entries()]


def test_every_operator_with_a_rule_is_listed() -> None:
    rows = re.findall(r"^\| `(\S+)` \| `\(", (ROOT / "docs" / "operators.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(operator_rules())


def test_ranges_of_codes_are_explained() -> None:
    ranges = re.findall(r"^\| (PNX\d) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert sorted({entry.code[:4] for entry in entries()}) == sorted(ranges)


def test_make_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    declared = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert declared is not None
    helped = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    assert sorted(declared[1].split()) == sorted(helped)
