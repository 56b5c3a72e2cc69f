"""`pnnxfix rule`: what a code means."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from pnnxfix.cli.console import BOLD, CYAN, Paint, painter, write
from pnnxfix.cli.help import help_option

if TYPE_CHECKING:
    from pnnxfix.rules.catalogue import Entry

_SECTIONS = ("What it finds", "Why it breaks", "Repair", "Limits", "Example", "Source")


@click.command("rule", short_help="Explain a finding, or list all rules.", add_help_option=False)
@help_option
@click.argument("codes", metavar="[CODE]...", nargs=-1)
@click.option("--all", "all_rules", is_flag=True, help="List all rules, one a line.")
@click.option("--color/--no-color", default=None, help="Colour always, or never.")
def command(codes: tuple[str, ...], all_rules: bool, color: bool | None) -> int:
    """Explain a finding: what it means, why it breaks, what the repair is.

    CODE is a code (PNX101) or a name (leaked-clamp-min).
    """
    from pnnxfix.rules.catalogue import entries

    if all_rules == bool(codes):
        raise click.UsageError("Give one or more codes, or --all.")
    rules = entries()
    paint = painter(sys.stdout, color)
    if all_rules:
        write(sys.stdout, _render_table(rules, paint))
    else:
        write(sys.stdout, "\n".join(_render_page(_find(code, rules), paint) for code in codes))
    return 0


def _find(code: str, rules: Sequence[Entry]) -> Entry:
    for rule in rules:
        if code.upper() == rule.code or code.lower() == rule.name:
            return rule
    from difflib import get_close_matches

    names = [name for rule in rules for name in (rule.code, rule.name)]
    near = get_close_matches(code.upper(), names, 1) or get_close_matches(code.lower(), names, 1)
    hint = f"did you mean {near[0]}?" if near else "`pnnxfix rule --all` lists them."
    raise click.UsageError(f"no rule {code!r}; {hint}")


def _render_table(rules: Sequence[Entry], paint: Paint) -> str:
    width = max((len(rule.name) for rule in rules), default=4)
    lines = [f"{'code':<8}{'name':<{width + 2}}repaired   what it finds\n"]
    for rule in rules:
        code = paint(f"{rule.code:<8}", BOLD)
        lines.append(f"{code}{rule.name:<{width + 2}}{rule.fixable:<11}{rule.summary}\n")
    return "".join(lines)


def _render_page(rule: Entry, paint: Paint) -> str:
    text = f"{paint(f'{rule.code} {rule.name}', BOLD)}\nRepaired: {rule.fixable}\n"
    for section in _SECTIONS:
        if section in rule.sections:
            body = "".join(f"    {line}".rstrip() + "\n" for line in rule.sections[section].splitlines())
            text += f"\n{paint(section, CYAN)}\n{body}"
    return text
