"""Between which numbers the integers of a conversion lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from pnnxfix.graph.graph import Graph
from pnnxfix.graph.shapes import Annotations
from pnnxfix.options import Options
from pnnxfix.pipeline.discovery import find_conversions
from pnnxfix.pipeline.integers import LARGEST, IntegerBounds
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.rules.base import Refusal

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "lowering" / "20261020"
UNREAD = Refusal("not read", "")


def load(case: str) -> LoadedConversion:
    conversions, _, _ = find_conversions([FIXTURES / case], Options().exclude)
    return LoadedConversion(conversions[0], ())


def bound(expression: str, *inputs: tuple[str, int]) -> tuple[int, int] | None:
    """The bounds of an Expression over inputs that are looked up in tables of so many rows."""
    rows = []
    for at, (dtype, size) in enumerate(inputs):
        rows.append(f"pnnx.Input in{at} 0 1 {at} #{at}=(1,4){dtype}")
        rows.append(f"nn.Embedding e{at} 1 1 {at} e{at} num_embeddings={size}")
    names = " ".join(str(at) for at in range(len(inputs)))
    rows.append(f"pnnx.Expression x {len(inputs)} 1 {names} 9 expr={expression} #9=(1,4)i64")
    graph = Graph(rows)
    return IntegerBounds(graph, Annotations(graph), lambda _: UNREAD).find("9")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("div(@0,2)", None),
        ("floor_divide(@0,2)", None),
        ("add(@0,1.5)", None),
        ("mul(mul(@0,1000),1000)", None),
        ("sub(mul(@0,10000000),mul(@0,10000000))", None),
        ("add(@0,@2)", None),
        ("add(@0", None),
        ("add(@0,1)", (1, 20)),
        ("sub(15,@0)", (-4, 15)),
        ("mul(sub(@0,5),@1)", (-20, 56)),
        ("neg(abs(sub(@0,5)))", (-14, 0)),
        ("abs(sub(@0,30))", (11, 30)),
        ("maximum(sub(@0,3),0)", (0, 16)),
        ("min(@0,@1)", (0, 4)),
    ],
)
def test_bounds_of_expressions(expression: str, expected: tuple[int, int] | None) -> None:
    assert bound(expression, ("i64", 20), ("i64", 5)) == expected


def test_the_smallest_table_bounds_an_input() -> None:
    rows = """
        pnnx.Input a 0 1 0 #0=(1,4)i64
        nn.Embedding b 1 1 0 1 num_embeddings=20
        Tensor.reshape c 1 1 0 2 shape=(4) $input=0 #2=(4)i64
        nn.Embedding d 1 1 2 3 num_embeddings=16
    """
    graph = Graph(rows.strip().splitlines())
    found = IntegerBounds(graph, Annotations(graph), lambda _: UNREAD)
    assert found.find("0") == found.find("2") == (0, 15)


def test_counted_positions_are_bounded_by_the_length() -> None:
    loaded = load("counted-positions")
    assert loaded.pnnx is not None
    rows = {loaded.pnnx.graph[at].type: loaded.pnnx.graph[at] for at in loaded.pnnx.graph}
    assert loaded.integers.find(rows["torch.cumsum"].outputs[0]) == (0, 8)
    assert loaded.integers.find(rows["torch.gather"].outputs[0]) == (0, 4)


def test_what_wraps_around_or_is_too_large_is_not_certain() -> None:
    assert bound("add(@0,1)", ("i64", LARGEST + 1)) is None
    assert bound("add(@0,1)", ("u8", 20)) == (1, 20)
    assert load("integers-without-bounds").integers.find("0") is None
