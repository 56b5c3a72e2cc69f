"""Tensors that depend on no input, worked out as numpy does it in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pnnxfix.graph.graph import Graph
from pnnxfix.graph.shapes import Annotations
from pnnxfix.pipeline.folding import Folding
from pnnxfix.rules.base import Refusal
from pnnxfix.rules.lowering.stored import StoredTensor

Array = np.ndarray[Any, Any]
START = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
STORED = StoredTensor((4,), (0.5, -2.0, 3.25, 1e-3), "f32")
S = np.float32(STORED.numbers)


def fold(row: str, shape: str) -> tuple[float | int, ...] | None:
    """The numbers of a row that reads `1`, 1 to 12 as (3,4), and perhaps `2`, a stored tensor."""
    rows = """
        torch.arange a 0 1 0 dtype=None end=13 start=1 #0=(12)i64
        Tensor.to b 1 1 0 5 copy=False dtype=torch.float $input=0 #5=(12)f32
        Tensor.reshape c 1 1 5 1 shape=(3,4) $input=5 #1=(3,4)f32
        pnnx.Attribute d 0 1 2 @data=(4)f32
        pnnx.Input e 0 1 3 #3=(3,4)f32
    """.strip().splitlines()
    graph = Graph([*rows, f"{row} #9=({shape})f32", "pnnx.Output f 1 0 9"])
    folding = Folding(graph, Annotations(graph), lambda _: STORED)
    return folding.find("9")


@pytest.mark.parametrize(
    ("row", "shape"),
    [
        ("pnnx.Expression x 2 1 1 3 9 expr=add(@0,@1)", "3,4"),
        ("pnnx.Expression x 1 1 2 9 expr=mul(@0,2.0)", "4"),
        ("pnnx.Expression x 1 1 1 9 expr=log(sub(@0,1.0))", "3,4"),
        ("pnnx.Expression x 1 1 1 9 expr=exp(mul(@0,50.0))", "3,4"),
        ("pnnx.Expression x 1 1 1 9 expr=erf(@0)", "3,4"),
        ("pnnx.Expression x 1 1 1 9 expr=div(@0,0.000000)", "3,4"),
        ("aten::sort x 1 1 1 9", "3,4"),
        ("Tensor.slice x 1 1 1 9 dim=1 end=3 start=0 step=1 $input=1", "3,4"),
    ],
    ids=["an-input", "nothing-made", "infinity", "overflow", "unknown", "doubtful", "no-rule", "other-shape"],
)
def test_what_is_not_worked_out(row: str, shape: str) -> None:
    assert fold(row, shape) is None


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("pnnx.Expression x 1 1 1 9 expr=sin(div(@0,7.5))", lambda: np.sin(START / np.float32(7.5))),
        ("pnnx.Expression x 2 1 1 2 9 expr=mul(add(@0,1.000000e-6),@1)",
         lambda: (START + np.float32(1e-6)) * S),
        ("pnnx.Expression x 1 1 1 9 expr=div(1.0,pow(10000.0,div(@0,16.0)))",
         lambda: 1 / np.float32(10000) ** (START / 16)),
        ("pnnx.Expression x 2 1 1 2 9 expr=maximum(neg(@0),abs(@1))",
         lambda: np.maximum(-START, np.abs(S))),
        ("Tensor.slice x 1 1 1 9 dim=1 end=2147483647 start=-3 step=2 $input=1", lambda: START[:, -3::2]),
        ("Tensor.slice x 1 1 1 9 dim=0 end=-1 start=0 step=1 $input=1", lambda: START[:-1]),
        ("Tensor.select x 1 1 1 9 dim=-1 index=-2 $input=1", lambda: START[:, -2]),
        ("Tensor.repeat x 1 1 1 9 sizes=(2,1,3) $input=1", lambda: np.tile(START, (2, 1, 3))),
        ("Tensor.expand x 1 1 2 9 sizes=(3,4) $input=2 #1=(3,4)f32", None),
        ("Tensor.permute x 1 1 1 9 dims=(1,0) $input=1", lambda: START.T),
        ("torch.transpose x 1 1 1 9 dim0=-1 dim1=0 $input=1", lambda: START.T),
        ("torch.stack x 2 1 1 1 9 dim=2", lambda: np.stack([START, START], 2)),
        ("torch.stack x 2 1 1 1 9 dim=-1", lambda: np.stack([START, START], -1)),
        ("torch.cat x 2 1 1 1 9 dim=1", lambda: np.concatenate([START, START], 1)),
        ("torch.flatten x 1 1 1 9 end_dim=-1 start_dim=0 $input=1", lambda: START.reshape(-1)),
    ],
)  # fmt: skip
def test_what_is_worked_out(row: str, expected: Callable[[], Array] | None) -> None:
    if expected is None:  # of the stored tensor alone: pnnx has folded that
        assert fold(row, "3,4") is None
        return
    right = expected()
    numbers = fold(row, ",".join(map(str, right.shape)))
    assert numbers is not None
    np.testing.assert_allclose(np.float64(numbers), right.reshape(-1).astype(np.float64), rtol=3e-7, atol=0)


def test_numbers_that_cannot_be_read_are_not_worked_out() -> None:
    rows = [
        "torch.arange a 0 1 0 dtype=torch.float end=4 start=0 #0=(4)f32",
        "pnnx.Attribute d 0 1 2 @data=(4)f32",
        "pnnx.Expression x 2 1 0 2 9 expr=add(@0,@1) #9=(4)f32",
    ]
    graph = Graph(rows)
    folding = Folding(graph, Annotations(graph), lambda _: Refusal("not there", ""))
    assert folding.find("0") == (0.0, 1.0, 2.0, 3.0)
    assert folding.find("9") is None
