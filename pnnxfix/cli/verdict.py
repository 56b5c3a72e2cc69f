"""The verdicts of `verify` as text and as JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pnnxfix import __version__
from pnnxfix.cli.console import BOLD, CYAN, GREEN, RED, YELLOW, Paint, count, painter, printable, shown, write
from pnnxfix.cli.json_output import problem_as_json
from pnnxfix.conversion.versions import find_known_bad, find_versions
from pnnxfix.report import Problem
from pnnxfix.verify.outcome import Divergence, FormReport, Measure, Verdict

# Raised when a field goes or changes its meaning; a new field does not raise it.
SCHEMA_VERSION = 1
_COLORS = {"agrees": GREEN, "disagrees": RED, "not compared": YELLOW}


def show(
    verdicts: Sequence[Verdict],
    problems: Sequence[Problem],
    output_format: str,
    quiet: bool,
    color: bool | None,
) -> int:
    """Print the verdicts; gives the exit code."""
    versions = find_versions()
    known_bad = find_known_bad(versions)
    code = 2 if problems else max((verdict.exit_code for verdict in verdicts), default=0)
    if output_format == "json":
        write(sys.stdout, render_json(verdicts, problems, code, versions))
    else:
        paint = painter(sys.stdout, color)
        write(sys.stdout, "".join(_verdict(one, paint, output_format == "full") for one in verdicts))
    paint = painter(sys.stderr, color)
    every = [*problems, *(problem for verdict in verdicts for problem in verdict.problems)]
    text = "".join(_problem(problem, paint) for problem in every)
    if not quiet:
        text += "".join(
            f"{printable(shown(one.stem))}: {paint('note', YELLOW)}: {printable(note)}\n"
            for one in verdicts
            for note in one.notes
        )
        text += "".join(f"{paint('known', YELLOW)}: {one}\n" for one in known_bad)
        text += _summary(verdicts, len(every), versions)
    write(sys.stderr, text)
    return code


def _summary(verdicts: Sequence[Verdict], problems: int, versions: Mapping[str, str]) -> str:
    states = [form.state for verdict in verdicts for form in verdict.forms]
    parts = [f"{states.count(state):,} {state}" for state in _COLORS if state in states]
    told = ", ".join(parts) or "nothing compared"
    errors = f"; {count(problems, 'error')}" if problems else ""
    ran = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"Verified {count(len(verdicts), 'conversion')} with {ran}: {told}{errors}.\n"


def _problem(problem: Problem, paint: Paint) -> str:
    position = f":{problem.line}:{problem.column}" if problem.line else ""
    where = paint(f"{printable(shown(problem.path))}{position}:", BOLD)
    text = f"{where} {paint('error', RED)}: {printable(problem.message)}\n"
    return text + (f"    {paint('help', CYAN)}: {printable(problem.help)}\n" if problem.help else "")


def _verdict(verdict: Verdict, paint: Paint, full: bool) -> str:
    return "".join(_form(verdict, form, paint, full) for form in verdict.forms)


def _form(verdict: Verdict, form: FormReport, paint: Paint, full: bool) -> str:
    where = paint(f"{printable(shown(form.path))}:", BOLD)
    state = paint(form.state, _COLORS[form.state])
    worst = form.worst
    if worst is None:
        text = f"{where} {state}: {printable(form.reason)}\n"
        return text + _messages(form, paint) + _found(form, paint) if full else text
    inputs = count(len({one.input for one in form.measures}), "input")
    with_what = f"{verdict.reference} on {inputs}"
    needed = f"needs tolerance {_number(worst.needed)}, has {_number(worst.tolerance)}"
    text = f"{where} {state} with {with_what}: {needed} ({worst.output}, input {worst.input})\n"
    if not full:
        return text
    if form.state == "disagrees":
        text += "".join(_measure(one, paint) for one in _worst_of_each(form.measures))
        text += _messages(form, paint)
    return text + _found(form, paint)


def _found(form: FormReport, paint: Paint) -> str:
    if form.divergence is not None:
        return _divergence(form.divergence, paint)
    return f"    {paint('bisect', CYAN)}: {printable(form.no_divergence)}\n" if form.no_divergence else ""


def _worst_of_each(measures: Sequence[Measure]) -> list[Measure]:
    worst: dict[str, Measure] = {}
    for one in measures:
        if not one.passed and (one.output not in worst or one.needed > worst[one.output].needed):
            worst[one.output] = one
    return list(worst.values())


def _measure(one: Measure, paint: Paint) -> str:
    head = f"    {paint(one.output, CYAN)}, input {one.input}: "
    a, b = one.shapes
    if a is None or b is None:
        return f"{head}only {'the reference' if b is None else 'this form'} has it\n"
    if one.shape_differs:
        moved = "; the same numbers with the batch axis elsewhere" if one.batch_axis_only else ""
        return f"{head}shape {list(b)}, the reference has {list(a)}{moved}\n"
    text = (
        f"{head}abs {_number(one.max_abs)}, rel {_number(one.max_rel)}, L2 {_number(one.relative_l2)}, "
        f"cosine {one.cosine:.6f}"
    )
    if any(map(any, one.nonfinite)):
        text += ", nan/inf {}/{}, the reference {}/{}".format(*one.nonfinite[1], *one.nonfinite[0])
    if one.worst is not None:
        index, expected, found = one.worst
        text += f"; worst at {list(index)}: {_number(found)}, the reference {_number(expected)}"
    return text + "\n"


def _messages(form: FormReport, paint: Paint) -> str:
    return "".join(f"    {paint('printed', CYAN)}: {printable(line)}\n" for line in form.messages[-5:])


def _divergence(one: Divergence, paint: Paint) -> str:
    text = (
        f"    {paint('first wrong', RED)}: {printable(one.operator)} ({printable(one.kind)}): "
        f"error {_number(one.error_in)} in, {_number(one.error_out)} out\n"
    )
    for place in one.places:
        text += f"        {printable(shown(place.path))}:{place.line}: {printable(place.text[:160])}\n"
    text += "".join(f"    {paint('cause', CYAN)}: {printable(cause)}\n" for cause in one.causes)
    growth = [step.error for step in one.steps]
    at = next((at for at, step in enumerate(one.steps) if step.is_culprit), None)
    if at is not None:
        after = [error for error in growth[at:] if error is not None]
        told = " -> ".join(_number(error) for error in _thin(after))
        text += f"    {paint('growth', CYAN)}: {told}\n"
    return text


def _thin(errors: Sequence[float], limit: int = 8) -> list[float]:
    if len(errors) <= limit:
        return list(errors)
    step = (len(errors) - 1) / (limit - 1)
    return [errors[round(at * step)] for at in range(limit)]


def _number(value: float) -> str:
    return f"{value:.3g}"


# JSON


def render_json(
    verdicts: Sequence[Verdict], problems: Sequence[Problem], exit_code: int, versions: Mapping[str, str]
) -> str:
    """One JSON object, ASCII only; what is not finite is a string. docs/verify.md holds its schema."""
    return (
        json.dumps(
            {
                "schema_version": SCHEMA_VERSION,
                "tool": {"name": "pnnxfix", "version": __version__},
                "command": "verify",
                "exit_code": exit_code,
                "versions": versions,
                "known_bad": find_known_bad(versions),
                "problems": [problem_as_json(one) for one in problems],
                "conversions": [_verdict_as_json(one) for one in verdicts],
            },
            indent=2,
        )
        + "\n"
    )


def _verdict_as_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "stem": shown(verdict.stem),
        "reference": verdict.reference,
        "reference_path": verdict.reference_path and shown(verdict.reference_path),
        "exit_code": verdict.exit_code,
        "seconds": round(verdict.seconds, 3),
        "notes": list(verdict.notes),
        "problems": [problem_as_json(one) for one in verdict.problems],
        "forms": [
            {
                "form": form.form,
                "path": shown(form.path),
                "state": form.state,
                "runtime": form.runtime,
                "weights": form.weights,
                "reason": form.reason,
                "messages": list(form.messages),
                "measures": [_measure_as_json(one) for one in form.measures],
                "divergence": _divergence_as_json(form.divergence),
                "no_divergence": form.no_divergence,
            }
            for form in verdict.forms
        ],
    }


def _measure_as_json(one: Measure) -> dict[str, Any]:
    return {
        "output": one.output,
        "input": one.input,
        "passed": one.passed,
        "tolerance": one.tolerance,
        "needed": _finite(one.needed),
        "max_abs": _finite(one.max_abs),
        "max_rel": _finite(one.max_rel),
        "relative_l2": _finite(one.relative_l2),
        "cosine": _finite(one.cosine),
        "shapes": {"reference": one.shapes[0], "form": one.shapes[1]},
        "nonfinite": {"reference": one.nonfinite[0], "form": one.nonfinite[1], "left_out": one.hidden},
        "worst": one.worst
        and {
            "index": one.worst[0],
            "reference": _finite(one.worst[1]),
            "form": _finite(one.worst[2]),
        },
        "batch_axis_only": one.batch_axis_only,
    }


def _divergence_as_json(one: Divergence | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "operator": one.operator,
        "type": one.kind,
        "places": [{"path": shown(p.path), "line": p.line, "text": p.text} for p in one.places],
        "error_in": _finite(one.error_in),
        "error_out": _finite(one.error_out),
        "causes": list(one.causes),
        "steps": [
            {
                "reference": step.reference,
                "layer": step.layer,
                "error": None if step.error is None else _finite(step.error),
            }
            for step in one.steps
        ],
    }


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
