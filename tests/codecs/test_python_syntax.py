"""A long file is judged by a shorter one; the judgement is the compiler's over the whole."""

from __future__ import annotations

import re
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pnnxfix.codecs.python_syntax import hide_leaks, syntax_error

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
FILES = sorted(FIXTURES.glob("*/*/*_pnnx.py")) + sorted(FIXTURES.glob("lowering/*/*/*_pnnx.py"))
COMMENT = b"#" * 100_000
"""What makes a file a long one."""


def is_python(data: bytes) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(data, "x", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True


def assert_judged_rightly(data: bytes) -> None:
    long = data + COMMENT
    assert (syntax_error(long, "x") is None) == is_python(long)


def test_of_every_file_that_pnnx_wrote() -> None:
    assert len(FILES) > 300
    for path in FILES:
        for data in {path.read_bytes(), hide_leaks(path.read_bytes())}:
            assert_judged_rightly(data)


GOOD = """v_1 = F.relu(v_0)|v_1 = torch.clamp(v_0, min=-0.5, max=None)|v_1 = torch.cat((v_0, v_2), dim=1)
v_1, v_2 = torch.chunk(v_0, chunks=2, dim=1)|v_1 = 0.1|v_1 = -1e-05|v_1 = v_0|v_1 = (v_0 + v_2)|v_1 = 0|pass
v_1 = v_0.permute(dims=(0,2,1))|v_1 = F.pad(v_0, mode='constant', pad=(1,1,))|v_1 = f(input=v_0, other=v_0)
v_1 = torch.sum(v_0, dtype=torch.float)|v_1 = information(v_0, in_=1)|v_1 = (v_0 * 0.5)|v_1 = self.iffy()"""
BAD = """v_1 = F.in(v_0)|v_1 = F.relu(v_0|v_1 = f(dim=1, dim=2)|v_1 = f(v_0, dim=1, x=2, dim=2)
v_1 = f(, dim=1)|v_1 = f(dim=1, v_0)|v_1 = 01|v_1 = f(v_0, 007)|v_1 = self.0(v_0)|v_1 = f(v_0, lambda=1)
v_1 = f(v_0, in)|v_1 = True(|v_ 1 = 0|v_1 = f(v_0,, 1)|v_1 = f((1 2))|v_1 = f(v_0))|v_1 = 'a
v_1 = f(v_0, None=1)|v_1 = 1.0.0|v_1 = f(v_0, 1e)|v_1 = (v_0 + )|v_1, 2 = f(v_0)|v_1 = f(v_0) v_2 = 0
v_1 = f(v_0, __debug__=1)|v_1 = a::b(v_0)"""
AROUND = r"""if v_0:|else:|for v_0 in v_1:|def f(v_0):|class A:|x = [|]|f(|)|x = \|@f|global v_1|nonlocal v_1
'''|return v_1|# v_1 = 0|x = f'''{|}'''|if x: \|v_1 = f(v_0) # a|try:|except E:|finally:|lambda: v_1 = 0
if x: v_1 = 0|async def f():|await v_0|with v_0:|while 1:|x = (v_1 := 0)|match v_0:|case 1:|continue|del v_1
x = v_1 = f(v_0)|f(a, v_1 = g(v_0)|type v_1 = f(v_0)|# coding: utf-7|+AAo-|x = v_1 if v_0 else v_1 = f(v_0)
v_1 = f(v_0); v_1 = 0|from __future__ import annotations|v_1: int"""
WORDS = re.split(r"[|\n]", f"{GOOD}\n{BAD}\n{AROUND}")
INDENTS = st.sampled_from(["", "", "    ", "    ", "    ", "        ", "        ", "   "])
LINES = st.tuples(INDENTS, st.sampled_from(WORDS)).map("".join)
ENDS = st.sampled_from(["\n", "\n", "\n", "\r\n", "\r"])


@settings(max_examples=150)
@given(st.lists(st.tuples(LINES, ENDS), max_size=12))
@example([("def f(v_0):", "\n"), ("    v_1 = f(v_0)", "\n"), ("    global v_1", "\n")])
@example([("if x: \\", "\n"), ("    v_1 = f(v_0)", "\n"), ("    v_1 = f(v_0)", "\n")])
@example([("# coding: utf-7", "\n"), ("x = 0", "\n")])
def test_of_lines_in_any_order(lines: list[tuple[str, str]]) -> None:
    assert_judged_rightly("".join(text + end for text, end in lines).encode())


@pytest.mark.parametrize("statement", re.split(r"[|\n]", f"{GOOD}\n{BAD}"))
def test_of_each_statement(statement: str) -> None:
    good = statement in GOOD.replace("\n", "|").split("|")
    data = f"def f(v_0):\n    {statement}\n    {statement}\n".encode() + COMMENT
    assert is_python(data) == (syntax_error(data, "x") is None) == good


@settings(max_examples=150)
@given(st.sampled_from(re.split(r"[|\n]", GOOD)), st.data())
def test_of_a_statement_with_a_wrong_byte(statement: str, pick: st.DataObject) -> None:
    at = pick.draw(st.integers(0, len(statement)))
    cut = pick.draw(st.integers(0, 2))
    put = pick.draw(st.text("v_10.,=()' -+'aefi", max_size=3))
    changed = statement[:at] + put + statement[at + cut :]
    assert_judged_rightly(f"def f(v_0):\n    {changed}\n    return v_1\n".encode())


def test_an_error_is_where_it_is_in_the_whole_file() -> None:
    lines = ["def f(v_0):", *["    v_1 = f(v_0)"] * 9_000, "    v_1 = F.in(v_0)", "    v_1 = 0", ""]
    error = syntax_error("\n".join(lines).encode(), "x")
    assert error is not None
    assert error.lineno == 9_002


@pytest.mark.parametrize(
    "line",
    [
        "v_1 = f(" + "a=1, " * 50_000 + "a=1)",
        "v_1 = f(v_0" + ", (1," * 50_000,
        " " * 500_000 + "v_1",
        "v_1 = " + "v_" * 200_000,
    ],
    ids=range(4),
)
def test_long_lines_cost_their_length(line: str) -> None:
    start = time.monotonic()
    syntax_error(f"def f(v_0):\n    {line}\n".encode() + COMMENT, "x")
    assert time.monotonic() - start < 10
