"""The error along a network as an SVG chart with a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from pnnxfix.verify.outcome import Step

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 860.0, 220.0, 56.0, 26.0
_LOWEST, _HIGHEST = -9.0, 1.0


def draw_errors(steps: Sequence[Step]) -> str:
    """A point for each pair of values, in order; the culprit marked, and named on hovering."""
    parts = [
        f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img"><title>error along the network</title>'
    ]
    for power in range(int(_LOWEST), int(_HIGHEST) + 1, 2):
        y = _height(10.0**power)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="axis" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">1e{power}</text>')
    known = [(at, step) for at, step in enumerate(steps) if step.error is not None]
    way = " ".join(f"{_place(at, len(steps)):.1f},{_height(step.error or 0):.1f}" for at, step in known)
    parts.append(f'<polyline class="errors" points="{way}"/>')
    for at, step in known:
        kind = "culprit" if step.is_culprit else "point"
        label = f"{step.layer} / {step.reference}: {step.error:.3g}"
        parts.append(
            f'<circle class="{kind}" cx="{_place(at, len(steps)):.1f}" cy="{_height(step.error or 0):.1f}" '
            f'r="{5 if step.is_culprit else 2.5}"><title>{escape(label)}</title></circle>'
        )
    culprit = next(((at, step) for at, step in enumerate(steps) if step.is_culprit), None)
    if culprit is not None:
        x = _place(culprit[0], len(steps))
        anchor = "end" if x > _WIDTH / 2 else "start"
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{_HEIGHT - _BOTTOM}"/>')
        shift = -6 if anchor == "end" else 6
        name = escape(culprit[1].layer)
        parts.append(f'<text class="axis" x="{x + shift:.1f}" y="14" text-anchor="{anchor}">{name}</text>')
    told = f"{len(steps)} values, first to last"
    parts.append(f'<text class="axis" x="{_WIDTH}" y="{_HEIGHT - 6}" text-anchor="end">{told}</text>')
    return "".join([*parts, "</svg>"])


def _place(at: int, count: int) -> float:
    return _LEFT + 6 + at * (_WIDTH - _LEFT - 16) / max(count - 1, 1)


def _height(error: float) -> float:
    power = _LOWEST if error <= 0 else min(max(math.log10(min(error, 1e300)), _LOWEST), _HIGHEST)
    return 8 + (_HIGHEST - power) / (_HIGHEST - _LOWEST) * (_HEIGHT - _BOTTOM - 8)
