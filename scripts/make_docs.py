"""Writes the generated parts of the documentation: tables of rules, and what commands really print.

    python scripts/make_docs.py

A block after `<!-- run: SETUP -->` is run, and the output under each `$ ` line replaced by the real one.
SETUP is `git` (an empty repository) and any number of `[FOLDER=]CASE[:GLOB]`: files of the fixture CASE of
the latest release (`lowering/CASE` of those in that folder), copied into a new directory.
`<!-- run -->` goes on where the block before ended.
`, exit N` states the last command's exit code; another one is an error. What stands between
`<!-- table: NAME -->` and `<!-- /table -->` is made from the rules and the fixtures, or was measured by
another command and stays.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from shutil import copy

import pnnxfix
from pnnxfix.report import Finding
from pnnxfix.rules.base import OperatorRule, Rule
from pnnxfix.rules.cases import LATEST
from pnnxfix.rules.registry import all_rules, operator_rules, walk_operator_modules
from pnnxfix.rules.schema_types import find_overloads

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "fixtures"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

BLOCK = re.compile(
    r"(?P<head><!-- run(?:: (?P<setup>[^,>]+?))?(?:, exit (?P<code>\d+))? -->\n```console\n)"
    r"(?P<body>.*?)(?P<end>^```\n)",
    re.DOTALL | re.MULTILINE,
)
TABLE = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)

_CONSOLE = "PNX5"
_EXAMPLES = 3
# Written by `scripts/convert_table.py`, which converts models for it.
_MEASURED = {"convert"}


def render_page(text: str) -> str:
    """The page with its tables and outputs made anew. Raises SystemExit for a wrong exit code."""
    text = TABLE.sub(_make_table, text)
    with tempfile.TemporaryDirectory() as name:
        session = _Session(Path(name))
        return BLOCK.sub(session.run_block, text)


def _make_table(match: re.Match[str]) -> str:
    if match[2] in _MEASURED:
        return match[0]
    return f"{match[1]}\n{_TABLES[match[2]]()}\n{match[4]}"


class _Session:
    """Where the commands of one page run; each block with a setup gets a directory of its own."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._folder = home
        self._number = 0
        programs = home / "bin"
        programs.mkdir()
        program = programs / "pnnxfix"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m pnnxfix "$@"\n')
        program.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
        self._environment = {name: value for name, value in kept.items() if not name.startswith("GIT_")} | {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONSAFEPATH": "1",
            "HOME": str(home),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "80",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
        }
        for who in ("AUTHOR", "COMMITTER"):
            self._environment |= {f"GIT_{who}_NAME": "a", f"GIT_{who}_EMAIL": "a@example.org"}

    def run_block(self, match: re.Match[str]) -> str:
        if match["setup"]:
            self._prepare(match["setup"].split())
        commands = [line for line in match["body"].splitlines() if line.startswith("$ ")]
        body, code = "", 0
        for command in commands:
            output, code = self._run(command[2:])
            body += f"{command}\n{output}"
        if code != int(match["code"] or 0):
            raise SystemExit(f"exit {code}, not {match['code'] or 0}:\n{body}")
        return match["head"] + body + match["end"]

    def _run(self, command: str) -> tuple[str, int]:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
        )
        output = done.stdout
        return (output if not output or output.endswith("\n") else output + "\n"), done.returncode

    def _prepare(self, setup: list[str]) -> None:
        self._number += 1
        self._folder = self._home / f"{self._number}"
        self._folder.mkdir()
        for word in setup:
            if word == "git":
                self._run("git init -q")
                continue
            folder, _, source = word.rpartition("=")
            case, _, glob = source.partition(":")
            target = self._folder / folder
            target.mkdir(parents=True, exist_ok=True)
            *kind, name = case.split("/")
            for path in FIXTURES.joinpath(*kind, LATEST[0], name).glob(glob or "*"):
                copy(path, target)


# tables


def _table(head: str, rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, "|---" * head.count(" | ") + "|---|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _list_rules() -> str:
    rows = []
    for rule in all_rules():
        if issubclass(rule, OperatorRule) or rule.code.startswith(_CONSOLE):
            continue
        rows.append((rule.code, rule.name, rule.fixable, _summary(rule)))
    lines = [rule.code for rule in all_rules() if rule.code.startswith(_CONSOLE)]
    about = (
        f"A line that pnnx printed, with `check --log`: {len(lines)} kinds, [one by one](docs/console.md)."
    )
    rows.append((f"{lines[0]} to {lines[-1]}", "", "never", about))
    return _table("| code | name | repaired | what it finds |", sorted(rows))


def _list_pages() -> str:
    """Links to all pages by their titles, also to those that other commands write."""
    pages = [page for page in PAGES if page.name != "README.md"] + [ROOT / "CHANGELOG.md"]
    links = [f"- [{_title(page)}]({page.relative_to(ROOT).as_posix()})" for page in pages]
    return "\n".join([*sorted(links), "- [BSD-3-Clause](LICENSE)"]) + "\n"


def _title(page: Path) -> str:
    return page.read_text().partition("\n")[0].removeprefix("# ")


def _list_families() -> str:
    rows = []
    for family, rules in _families():
        such = ", ".join(f"`{rule.operator}`" for rule in rules[:_EXAMPLES])
        left = len(rules) - _EXAMPLES
        if left > 0:
            such += f" and {left} more"
        rows.append((f"[{family.code}](docs/operators.md#{_anchor(family)})", such, _summary(family)))
    return _table("| code | operators | what it finds |", rows)


def _list_operators() -> str:
    parts = []
    for family, rules in _families():
        rows = [(f"`{rule.operator}`", f"`{_arguments(rule)}`", _public(rule)) for rule in rules]
        head = f"## {family.code} {family.name}\n\n{_summary(family)}\n\n"
        parts.append(head + _table("| operator | arguments | Python gets |", rows))
    return "\n".join(parts)


def _list_seen() -> str:
    found = _read_fixtures()
    rows = []
    for operator, forms in sorted(found.items()):
        known = "::" in operator or operator in operator_rules()
        if not known or not (forms["py"] or forms["ncnn"]):
            continue
        python, ncnn, refusals, releases = (forms[key] for key in ("py", "ncnn", "no", "release"))
        span = " to ".join(sorted({min(releases), max(releases)}))
        rows.append((f"`{operator}`", _code(python), _code(ncnn), "; ".join(refusals) or "-", span))
    return _table("| pnnx leaves | Python gets | ncnn gets | refused for ncnn | pnnx |", rows)


def _families() -> list[tuple[type[OperatorRule], list[OperatorRule]]]:
    """Each class of operator rules with its rules in the order of its table, by code."""
    found: defaultdict[type[OperatorRule], list[OperatorRule]] = defaultdict(list)
    for _, rules in walk_operator_modules():
        for rule in rules:
            found[type(rule)].append(rule)
    return sorted(found.items(), key=lambda item: item[0].code)


def _summary(rule: type[Rule]) -> str:
    return (rule.__doc__ or "").splitlines()[0]


def _anchor(rule: type[Rule]) -> str:
    return f"{rule.code}-{rule.name}".lower()


def _arguments(rule: OperatorRule) -> str:
    return rule.schema.removeprefix(rule.operator).rpartition(" -> ")[0]


def _public(rule: OperatorRule) -> str:
    """The Python that a leaked call becomes: its public names, by overload."""
    if "::" not in rule.operator:
        return "needs none"
    overloads = find_overloads(rule.operator)
    names = dict.fromkeys(_shorten(overload.public) for overload in overloads if overload.public)
    return _code(names or [f"torch.ops.{rule.operator.replace('::', '.')}"])


def _shorten(public: str) -> str:
    """Without the arguments, but `.name()` of a method, which tells it from an attribute."""
    return public if public.endswith("()") else public.partition("(")[0]


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words) or "-"


def _read_fixtures() -> Mapping[str, Mapping[str, dict[str, None]]]:
    """What `check` says of each fixture: by operator, the forms written, the refusals, the releases."""
    found: defaultdict[str, defaultdict[str, dict[str, None]]] = defaultdict(lambda: defaultdict(dict))
    for release, folder in _list_fixtures():
        for finding in pnnxfix.check(folder).findings:
            forms = found[finding.message.partition("`")[2].partition("`")[0]]
            forms["release"][release] = None
            if finding.path.name.endswith(".pnnx.param"):
                continue
            key = "py" if finding.path.suffix == ".py" else "ncnn"
            if finding.refusal is None:
                forms[key].update(dict.fromkeys(_read_forms(finding, key)))
            elif key == "ncnn":
                forms["no"][finding.refusal.partition(", and ")[0]] = None
    return found


def _list_fixtures() -> Iterator[tuple[str, Path]]:
    """The conversions that hold an ncnn graph, each with its release."""
    cases = json.loads((FIXTURES / "MANIFEST.json").read_text())["cases"]
    for name, case in cases.items():
        yield from ((release, FIXTURES / release / name) for release in case["files"])
    for folder in sorted((FIXTURES / "lowering").glob("*/*")):
        yield folder.parent.name, folder


def _read_forms(finding: Finding, key: str) -> Iterator[str]:
    """The functions or the layer types that a repair writes, as the finding's help names them."""
    written = finding.help.partition(" writes ")[2]
    if key == "py":
        yield written.partition("(")[0]
    else:
        words = [layer.split()[0] for layer in written.split(" and ") if layer]
        # The other words are of `3 more layers`, and of what is written together with something else.
        yield from (word for word in words if word[0].isupper())


_TABLES = {
    "rules": _list_rules,
    "families": _list_families,
    "operators": _list_operators,
    "seen": _list_seen,
    "pages": _list_pages,
}


def main() -> None:
    for page in PAGES:
        page.write_text(render_page(page.read_text()))


if __name__ == "__main__":
    main()
