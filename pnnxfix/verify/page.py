"""The verdicts as one page of HTML that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from pnnxfix import __version__
from pnnxfix.errors import PnnxfixError
from pnnxfix.verify.chart import draw_errors
from pnnxfix.verify.drawing import can_draw, draw
from pnnxfix.verify.neighbourhood import Comparison
from pnnxfix.verify.outcome import Divergence, FormReport, Measure, Verdict

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--faint:#5b6470;--line:#d5dae0;--back:#fff;--card:#f6f8fa;
--good:#1a7f37;--bad:#c62828;--warn:#9a6700}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ed;--faint:#9aa4b0;--line:#3a424c;--back:#14181d;
--card:#1c2229;--good:#4ac26b;--bad:#ff7b72;--warn:#d4a72c}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:1080px;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:1.4rem 0 .4rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--faint);font-weight:600;font-size:.85rem}
code,pre{font:13px/1.45 ui-monospace,monospace}pre{background:var(--card);padding:.6rem;overflow-x:auto}
.agrees{color:var(--good)}.disagrees{color:var(--bad)}.not{color:var(--warn)}
.card{background:var(--card);border-left:4px solid var(--bad);padding:.6rem 1rem;margin:.8rem 0}
.views{display:flex;gap:1.5rem;flex-wrap:wrap}.views figure{margin:0;overflow-x:auto;max-width:100%}
figcaption{color:var(--faint);font-size:.85rem;margin-bottom:.3rem}
svg{max-width:100%;height:auto}svg text{font:12px ui-monospace,monospace;fill:var(--ink)}
svg .detail,svg .axis{font-size:11px;fill:var(--faint)}
.node rect{fill:var(--back);stroke:var(--faint)}.marked rect{stroke:var(--bad);stroke-width:2.5}
.edge{fill:none;stroke:var(--faint)}.grid{stroke:var(--line)}.errors{fill:none;stroke:var(--faint)}
.point{fill:var(--faint)}.culprit{fill:var(--bad)}.mark{stroke:var(--bad);stroke-dasharray:4 3}
.bar{background:var(--line);height:.5rem;min-width:8rem}
.bar i{display:block;height:100%;background:var(--good)}
.bar i.over{background:var(--bad)}
"""


def write_page(path: Path, verdicts: Sequence[Verdict]) -> None:
    """Write the page. Raises PnnxfixError where that cannot be done."""
    try:
        path.write_text(render_page(verdicts), "utf-8", "backslashreplace")
    except OSError as error:
        raise PnnxfixError(f"{path}: cannot be written: {error.strerror}") from None


def render_page(verdicts: Sequence[Verdict]) -> str:
    """The page as text."""
    body = "".join(map(_verdict, verdicts)) or "<p>No conversion was verified.</p>"
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width"><title>pnnxfix verify</title>'
        f"<style>{_STYLE}</style></head><body><h1>pnnxfix verify</h1>{_summary(verdicts)}{body}"
        f"<p><small>pnnxfix {escape(__version__)}</small></p></body></html>\n"
    )


def _summary(verdicts: Sequence[Verdict]) -> str:
    rows = "".join(
        f"<tr><td>{escape(str(verdict.stem))}</td><td>{escape(form.form)}</td><td>{_state(form)}</td>"
        f"<td>{_needed(form)}</td><td>{escape(form.runtime)}</td></tr>"
        for verdict in verdicts
        for form in verdict.forms
    )
    titles = ("model", "form", "verdict", "tolerance needed / allowed", "run by")
    head = "".join(f"<th>{title}</th>" for title in titles)
    return f"<table><tr>{head}</tr>{rows}</table>"


def _state(form: FormReport) -> str:
    return f'<strong class="{form.state.split()[0]}">{form.state}</strong>'


def _needed(form: FormReport) -> str:
    worst = form.worst
    return escape(form.reason) if worst is None else f"{worst.needed:.3g} / {worst.tolerance:.3g}"


def _verdict(verdict: Verdict) -> str:
    text = f"<h2>{escape(str(verdict.stem))}</h2><p>Compared with {escape(verdict.reference or 'nothing')}"
    text += f" ({escape(str(verdict.reference_path))})" if verdict.reference_path else ""
    text += f", in {verdict.seconds:.1f} s.</p>"
    for problem in verdict.problems:
        text += f'<div class="card">{escape(problem.message)}<br>{escape(problem.help)}</div>'
    text += "".join(f"<p>{escape(note)}</p>" for note in verdict.notes)
    text += "".join(map(_form, verdict.forms))
    return text + "".join(map(_comparison, verdict.drawings))


def _form(form: FormReport) -> str:
    text = f"<h3>{escape(form.form)}: {escape(form.path.name)} {_state(form)}</h3>"
    if form.measures:
        head = "<tr><th>output</th><th>input</th><th>abs</th><th>rel</th><th>L2</th><th>cosine</th>"
        head += "<th>nan, inf</th><th>tolerance needed</th></tr>"
        text += f"<table>{head}{''.join(map(_measure, form.measures))}</table>"
    if form.messages:
        text += f"<pre>{escape(chr(10).join(form.messages))}</pre>"
    if form.divergence is not None:
        text += _divergence(form.divergence)
    elif form.no_divergence:
        text += f"<p>{escape(form.no_divergence)}</p>"
    return text


def _measure(one: Measure) -> str:
    if one.shape_differs:
        told = f"shape {one.shapes[1]}, the reference has {one.shapes[0]}"
        head = f"<tr><td>{escape(one.output)}</td><td>{escape(one.input)}</td>"
        return f'{head}<td colspan="6">{escape(told)}</td></tr>'
    share = min(one.needed / one.tolerance, 1.0) * 100
    kind = "" if one.passed else ' class="over"'
    bar = f'<div class="bar"><i{kind} style="width:{share:.0f}%"></i></div>'
    specials = "/".join(map(str, one.nonfinite[1])) if any(map(any, one.nonfinite)) else ""
    return (
        f"<tr><td>{escape(one.output)}</td><td>{escape(one.input)}</td><td>{one.max_abs:.2e}</td><td>{one.max_rel:.2e}"
        f"</td><td>{one.relative_l2:.2e}</td><td>{one.cosine:.6f}</td><td>{specials}</td>"
        f"<td>{one.needed:.2e}{bar}</td></tr>"
    )


def _divergence(one: Divergence) -> str:
    places = "".join(f"{place.path.name}:{place.line}: {place.text}\n" for place in one.places)
    causes = "".join(f"<li>{escape(cause)}</li>" for cause in one.causes)
    text = (
        f'<div class="card"><strong>First wrong: {escape(one.operator)} ({escape(one.kind)})</strong>: error '
        f"{one.error_in:.3g} in, {one.error_out:.3g} out<pre>{escape(places)}</pre><ul>{causes}</ul></div>"
    )
    return text + (f"<h3>Error along the network</h3>{draw_errors(one.steps)}" if one.steps else "")


def _comparison(one: Comparison) -> str:
    text = f"<h3>{escape(one.title)}</h3>"
    if not can_draw():
        return text + "<p>Graphs are drawn with fast-sugiyama: <code>pip install pnnxfix[report]</code></p>"
    views = "".join(
        f"<figure><figcaption>{escape(view.title)}</figcaption>{draw(view)}</figure>" for view in one.views
    )
    return f'{text}<div class="views">{views}</div>'
