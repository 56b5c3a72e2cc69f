"""The page of `--report`: self-contained, and drawn as a browser draws it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pnnxfix.graph.graph import Graph
from pnnxfix.verify.chart import draw_errors
from pnnxfix.verify.drawing import draw
from pnnxfix.verify.neighbourhood import Comparison, Node, View, look_around
from pnnxfix.verify.outcome import Divergence, FormReport, Measure, Place, Step, Verdict
from pnnxfix.verify.page import render_page
from tests.verify.conftest import Verify

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ROWS = """Input in0 0 1 in0
Split s 1 2 in0 1 2
Convolution c<1> 1 1 1 3 0=4
ReLU r 1 1 3 4
BinaryOp add 2 1 4 2 out0 0=0"""


def make_page() -> str:
    graph = Graph(ROWS.split("\n"))
    view = look_around(graph, [2], "model.ncnn.param")
    steps = tuple(Step(f"v_{at}", f"layer_{at}", 10.0 ** (at - 7), at == 3) for at in range(6))
    place = Place(Path("model.ncnn.param"), 5, "Convolution c<1>")
    measure = Measure("out0", "script", 0.01, 0.5, 1.0, 2.0, 0.3, 0.9, ((1, 4), (1, 4)))
    divergence = Divergence("ncnn", "c<1>", "Convolution", (place,), 1e-6, 0.1, ("a <cause>",), steps)
    form = FormReport(
        "ncnn", Path("model.ncnn.param"), "disagrees", measures=[measure], divergence=divergence
    )
    return render_page([Verdict(Path("model"), forms=[form], drawings=[Comparison("Around c", (view,))])])


def test_the_page_needs_nothing_else() -> None:
    page = make_page()
    assert not re.search(r"https?:|src=|href=|<script|@import|url\(", page)
    assert "c<1>" not in page
    assert "a &lt;cause&gt;" in page


def test_errors_of_any_size_have_a_place_in_the_chart() -> None:
    steps = [Step("", "", error) for error in (0.0, 1e-30, 1.0, 1e300, float("inf"), None)]
    chart = draw_errors(steps)
    assert chart.count("<circle") == 5
    assert all(0 <= float(y) <= 220 for y in re.findall(r'cy="([^"]*)"', chart))


def test_a_neighbourhood_ends_at_its_radius() -> None:
    rows = [f"ReLU r{at} 1 1 {at} {at + 1}" for at in range(1000)]
    view = look_around(Graph(rows), [500], "chain")
    assert [node.key for node in view.nodes] == [498, 499, 500, 501, 502]
    assert [node.key for node in view.nodes if node.marked] == [500]
    assert len(look_around(Graph(rows), range(1000), "all").nodes) < 30


@pytest.mark.parametrize("first", [0, 3, 4, 5, 6, 7, 100])
def test_nodes_do_not_meet_whatever_their_numbers(first: int) -> None:
    """The layout library numbers the bends of edges, as rows are numbered."""
    pytest.importorskip("fast_sugiyama", reason="it lays the drawings out, and has no wheel for Python 3.10")
    kinds = ("Reshape", "Split", "BinaryOp", "BinaryOp", "BinaryOp")
    nodes = tuple(Node(first + at, f"{kind} {at}", "", at == 2) for at, kind in enumerate(kinds))
    edges = [(0, 1), (1, 2), (1, 4), (2, 3), (3, 4)]
    view = View("v", nodes, tuple((first + a, first + b, f"{a}-{b}") for a, b in edges))
    svg = draw(view)
    boxes = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="(\d+)" height="(\d+)"', svg)
    spots = [tuple(map(float, box)) for box in boxes]
    assert len(spots) == 5
    for at, (x, y, width, height) in enumerate(spots):
        for u, v, _, _ in spots[:at]:
            assert abs(x - u) >= width or abs(y - v) >= height
    assert svg.count('class="edge"') == 5
    assert svg.count("L") == 2  # the edge past the two products goes straight beside each


def look(page: str, folder: Path) -> str:
    """What Chromium finds once it has laid the page out: nodes, whether they meet and are seen, points."""
    assert BROWSER is not None
    # The page tells about itself: what the browser measured after layout goes into its title.
    probe = """<script>onload = () => {
      const boxes = [...document.querySelectorAll(".node rect")].map(r => r.getBoundingClientRect());
      const meet = (p, q) => p.left < q.right && q.left < p.right && p.top < q.bottom && q.top < p.bottom;
      const overlap = boxes.some((p, i) => boxes.some((q, j) => j > i && meet(p, q)));
      const visible = boxes.every(r => r.width > 20 && r.height > 10);
      const points = document.querySelectorAll("circle").length;
      document.title = `nodes ${boxes.length} overlap ${overlap} visible ${visible} points ${points}`;
    }</script>"""
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    (folder / "page.html").write_text(page.replace("</body>", f"{probe}</body>"))
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=2000",
        "--dump-dom",
        (folder / "page.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None, done.stderr
    return title[1]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_chromium_draws_it(tmp_path: Path) -> None:
    pytest.importorskip("fast_sugiyama", reason="it lays the drawings out, and has no wheel for Python 3.10")
    assert look(make_page(), tmp_path) == "nodes 5 overlap false visible true points 6"


@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_chromium_draws_a_real_report(put: Callable[[str], Path], verify: Verify, tmp_path: Path) -> None:
    pytest.importorskip("fast_sugiyama", reason="it lays the drawings out, and has no wheel for Python 3.10")
    pytest.importorskip("torch", reason="the report is one of a real comparison")
    folder = put("attention")
    param = folder / "model.ncnn.param"
    param.write_text(param.read_text().replace("7 8 0=16 1=1.000000e-5", "7 8 0=16 1=1.000000e-1", 1))
    code, report, _ = verify("--bisect", "--report", folder / "out.html", folder)
    steps = report["conversions"][0]["forms"][1]["divergence"]["steps"]
    points = sum(step["error"] is not None for step in steps)
    assert code == 1
    found = re.fullmatch(
        rf"nodes (\d+) overlap false visible true points {points}",
        look((folder / "out.html").read_text(), tmp_path),
    )
    assert found is not None
    assert int(found[1]) > 10
