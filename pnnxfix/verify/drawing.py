"""Draws a graph as SVG. The layout is fast-sugiyama's: layered, with few crossings, a wheel without network.

Of the libraries with such a layout it is the one that is kept up, small (0.7 MB), under a free licence
and needs neither a browser nor a program beside Python; `dot` is a system package, grandalf stands still,
igraph is GPL. Here its positions become boxes and curves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from html import escape
from importlib.util import find_spec
from typing import Any

from pnnxfix.verify.neighbourhood import Node, View

WIDTH, HEIGHT, GAP_X, GAP_Y = 216.0, 40.0, 18.0, 34.0
_LONGEST = 28
Point = tuple[float, float]


def can_draw() -> bool:
    """Whether the layout library is there."""
    return find_spec("fast_sugiyama") is not None


def draw(view: View) -> str:
    """The view as one `<svg>` element."""
    points, bends = _lay_out(view)
    width = max((x for x, _ in points.values()), default=0.0) + WIDTH + 8
    height = max((y for _, y in points.values()), default=0.0) + HEIGHT + 8
    parts = [
        f'<svg viewBox="-4 -4 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" role="img">'
    ]
    parts.append(f"<title>{escape(view.title)}</title>")
    for source, target, name in view.edges:
        way = [_below(points[source]), *bends.get((source, target), []), _above(points[target])]
        parts.append(f'<path class="edge" d="{_curve(way)}"><title>{escape(name)}</title></path>')
    parts += [_box(node, points[node.key]) for node in view.nodes]
    return "".join([*parts, "</svg>"])


def _lay_out(view: View) -> tuple[dict[int, Point], dict[tuple[int, int], list[Point]]]:
    """Upper left corners by node, and the bends of edges that pass other layers."""
    from fast_sugiyama import from_edges

    # The library numbers the bends, perhaps with numbers that stand for nodes: those are texts to it.
    pairs = list(dict.fromkeys((str(source), str(target)) for source, target, _ in view.edges))
    points: dict[int, Point] = {}
    bends: dict[tuple[int, int], list[Point]] = {}
    shift = 0.0
    layouts = from_edges(pairs, vertex_spacing=100, dummy_vertices=True, check_layout=False) if pairs else []
    for positions, width, height, edges in layouts:
        left = min(x for _, (x, _) in positions)
        at = {
            # One unit of the layout is the distance of two centres, 100 in both directions.
            key: ((x - left) / 100 * (WIDTH + GAP_X) + shift, (height - y) / 100 * (HEIGHT + GAP_Y))
            for key, (x, y) in positions
        }
        points.update({int(key): point for key, point in at.items() if isinstance(key, str)})
        bends.update(_find_bends(at, list(edges or ())))
        shift += width / 100 * (WIDTH + GAP_X) + WIDTH + 2 * GAP_X
    for node in view.nodes:  # what no edge of the view touches
        if node.key not in points:
            points[node.key] = (shift, 0.0)
            shift += WIDTH + GAP_X
    return points, bends


def _find_bends(
    at: Mapping[Any, Point], edges: Collection[tuple[Any, Any]]
) -> dict[tuple[int, int], list[Point]]:
    onward = {source: target for source, target in edges if not isinstance(source, str)}
    found: dict[tuple[int, int], list[Point]] = {}
    for source, target in edges:
        if isinstance(source, str) and not isinstance(target, str):
            way: list[Point] = []
            while not isinstance(target, str) and target in onward:
                x, y = at[target]
                way += [(x + WIDTH / 2, y), (x + WIDTH / 2, y + HEIGHT)]
                target = onward[target]
            found[int(source), int(target)] = way
    return found


def _below(corner: Point) -> Point:
    return corner[0] + WIDTH / 2, corner[1] + HEIGHT


def _above(corner: Point) -> Point:
    return corner[0] + WIDTH / 2, corner[1]


def _curve(way: list[Point]) -> str:
    (x, y), *rest = way
    text = f"M{x:.1f},{y:.1f}"
    for at, (u, v) in enumerate(rest):
        if at % 2:  # past a layer, straight down
            text += f"L{u:.1f},{v:.1f}"
        else:
            middle = (y + v) / 2
            text += f"C{x:.1f},{middle:.1f} {u:.1f},{middle:.1f} {u:.1f},{v:.1f}"
        x, y = u, v
    return text


def _box(node: Node, corner: Point) -> str:
    x, y = corner
    kind = "node marked" if node.marked else "node"
    return (
        f'<g class="{kind}"><title>{escape(node.title)} {escape(node.detail)}</title>'
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{WIDTH:.0f}" height="{HEIGHT:.0f}" rx="5"/>'
        f'<text x="{x + 8:.1f}" y="{y + 16:.1f}">{escape(_shorten(node.title))}</text>'
        f'<text class="detail" x="{x + 8:.1f}" y="{y + 31:.1f}">{escape(_shorten(node.detail))}</text></g>'
    )


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "\u2026"
