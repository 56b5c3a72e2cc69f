"""Which values of two runs are taken for one: constants, which nothing leads to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pnnxfix.graph.graph import Operator
from pnnxfix.verify.distance import Value
from pnnxfix.verify.network import Network
from pnnxfix.verify.search import Search
from pnnxfix.verify.signature import Record, sign

X = np.array([1.0, -2.0, 3.0, 0.5])
BIAS = np.array([9.0, 8.0, 7.0, 6.0])
MASK = np.array([0.0, -1.0, -20.0, -3.0])


def make(values: Sequence[tuple[str, tuple[int, ...], np.ndarray]], is_ncnn: bool = False) -> Network:
    """A run that made these values, each by an operator of that kind out of those before it."""
    made = [
        Value(Record(f"{at}", sign(array.astype(np.float32)), {}), kind, inputs)
        for at, (kind, inputs, array) in enumerate(values)
    ]
    layers = [
        Operator(value.kind, f"{at}", tuple(map(str, value.inputs)), (f"{at}",))
        for at, value in enumerate(made)
    ]
    return Network(made, layers if is_ncnn else [])


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum()


def test_a_constant_that_only_ncnn_has_is_not_taken_for_another_one() -> None:
    """The bias of the left side stands in a layer's weights on the right; the mask has been put in."""
    biased, masked = X + BIAS, softmax(X + BIAS + MASK)
    left = make(
        [("Input", (), X), ("attribute", (), BIAS), ("addmm", (0, 1), biased), ("softmax", (2,), masked)]
    )
    right = make(
        [
            ("Input", (), X),
            ("MemoryData", (), MASK),
            ("InnerProduct", (0,), biased),
            ("BinaryOp", (2, 1), biased + MASK),
            ("Softmax", (3,), masked),
        ],
        is_ncnn=True,
    )
    search = Search(left, right, 1e-4)
    assert search.pairs == {0: 0, 2: 2, 4: 3}
    assert search.find([4]) is None


def test_an_altered_constant_is_found_by_what_reads_it() -> None:
    left = make(
        [
            ("Input", (), X),
            ("attribute", (), BIAS),
            ("attribute", (), MASK),
            ("mul", (0, 2), X * MASK),
            ("add", (3, 1), X * MASK + BIAS),
        ]
    )
    wrong = X * (MASK + 1)
    right = make(
        [
            ("Input", (), X),
            ("MemoryData", (), MASK + 1),
            ("BinaryOp", (0, 1), wrong),
            ("MemoryData", (), BIAS),
            ("BinaryOp", (2, 3), wrong + BIAS),
        ],
        is_ncnn=True,
    )
    search = Search(left, right, 1e-4)
    assert search.pairs == {0: 0, 1: 2, 2: 3, 3: 1, 4: 4}
    found = search.find([4])
    assert found is not None
    assert (found.right, found.left) == (1, 2)
