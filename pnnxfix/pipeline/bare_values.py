"""Constants of `_pnnx.py`: those that lost their reader go, those that Python cannot read are spelled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pnnxfix.codecs.number import read_exact, spell_for_python
from pnnxfix.codecs.python_source import Assigned, PythonFile
from pnnxfix.pipeline.findings import Place, make_finding
from pnnxfix.pipeline.selection import Selection

if TYPE_CHECKING:
    from pnnxfix.pipeline.operator_calls import OperatorCalls
    from pnnxfix.pipeline.plan import Plan


def plan_bare_values(
    python: PythonFile, plan: Plan, calls: OperatorCalls | None, selection: Selection
) -> None:
    """Add to the plan, after its calls, what becomes of the constants that they leave."""
    if plan.calls and calls is not None:
        plan.removed = calls.find_dead(plan.calls, python.reads)
    if not python.bare_specials and not python.bare_words:
        return
    from pnnxfix.rules.leaks import BareSpecial, BareWord

    gone = set(plan.removed)
    path = Path(python.path)
    for name, value in python.bare_specials:
        number = read_exact(value.text)
        if number is None or not selection.wants(BareSpecial.code, path):
            continue
        spelling = spell_for_python(number.text, number.value)
        if value.line not in gone:
            plan.values.append((value.line, spelling))
        message = f"`{name} = {value.text}` is no value that Python knows"
        help_text = f"`pnnxfix fix` writes {spelling}, or removes what nothing reads any more"
        plan.findings.append(make_finding(BareSpecial, _place(python, value), message, help_text, name))
    for name, value in python.bare_words:
        if value.line in gone or not selection.wants(BareWord.code, path):
            continue
        spelling = repr(value.text.strip("()"))
        plan.values.append((value.line, spelling))
        message = f"`{name} = {value.text}` is a string without its quotes"
        help_text = f"`pnnxfix fix` writes {spelling}"
        plan.findings.append(make_finding(BareWord, _place(python, value), message, help_text, name))


def _place(python: PythonFile, value: Assigned) -> Place:
    return Place(Path(python.path), value.line + 1, 1 + python.lines[value.line].index(value.text))
