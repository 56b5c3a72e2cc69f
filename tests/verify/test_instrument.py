"""What is done to `forward` before it runs."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import pytest

from pnnxfix.verify.instrument import instrument, release

CHAIN = """
def forward(self, v_0):
    v_1 = make(v_0)
    v_2, v_3 = pair(v_1)
    v_2 = make(v_2, v_1)
    v_4 = make(v_2)
    v_5 = (v_4, v_2)
    return v_5
"""
BRANCH = """
def forward(self, v_0):
    if v_0 is None:
        v_1 = make(v_0)
    v_2 = make(v_0)
    return v_2
"""
SCOPE = """
def forward(self, v_0):
    v_1 = make(*[v_9 for v_9 in (v_0,)])
    return v_1
"""


class Value:
    """Says when it is gone."""

    alive = 0

    def __init__(self) -> None:
        Value.alive += 1

    def __del__(self) -> None:
        Value.alive -= 1


def parse(text: str) -> ast.FunctionDef:
    node = ast.parse(text).body[0]
    assert isinstance(node, ast.FunctionDef)
    return node


def run(node: ast.FunctionDef, **scope: Any) -> tuple[Any, list[int]]:
    """What forward gives, and how many values were alive whenever one was made."""
    counts: list[int] = []

    def make(*given: Any) -> Value:
        counts.append(Value.alive)
        return Value()

    def pair(given: Any) -> tuple[Value, Value]:
        return make(), make()

    scope |= {"make": make, "pair": pair}
    exec(compile(ast.Module([node], []), "<test>", "exec"), scope)
    return scope["forward"](None, None), counts


def test_a_value_is_gone_behind_its_last_use() -> None:
    assert run(parse(CHAIN))[1] == [0, 1, 2, 3, 3]
    result, counts = run(release(parse(CHAIN)))
    assert counts == [0, 1, 2, 2, 1]
    assert len(result) == Value.alive == 2


@pytest.mark.parametrize("text", [BRANCH, SCOPE])
def test_code_that_pnnx_does_not_print_stays_as_it_is(text: str) -> None:
    assert ast.dump(release(parse(text))) == ast.dump(parse(text))
    assert isinstance(run(release(parse(text)))[0], Value)


@pytest.mark.parametrize("change", [release, lambda node: instrument(node)[0]])
def test_what_is_given_is_not_changed(change: Callable[[ast.FunctionDef], ast.FunctionDef]) -> None:
    node = parse(CHAIN)
    before = ast.dump(node)
    change(node)
    assert ast.dump(node) == before
