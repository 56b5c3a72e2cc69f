"""The generated Python: what counts as a leaked call, and what an edit leaves as it was."""

from __future__ import annotations

import encodings.aliases
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pnnxfix.codecs.python_source import PythonFile, rewrite_statement, split_arguments
from pnnxfix.codecs.python_syntax import hide_leaks, is_broken_statement, syntax_error
from pnnxfix.errors import ParseError

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"

HEAD = """import torch

class Model(nn.Module):
    def __init__(self):
        self.load_pnnx_bin_as_tensor(archive, 'w')

    def forward(self, v_0):
"""
TAIL = """        return v_2

def export_torchscript():
    v_2 = aten::clamp_min(v_0, v_1)
"""


def source(*statements: str, end: str = "\n") -> PythonFile:
    text = HEAD + "".join(f"        {statement}\n" for statement in statements) + TAIL
    return PythonFile(text.replace("\n", end).encode(), "m_pnnx.py")


@pytest.mark.parametrize(
    "statement",
    [
        "v_1 = v_0[::2]",
        "v_1 = v_0[:,1:,::2]",
        "v_1 = 'aten::clamp_min(v_0, v_1)'",
        "v_1 = f('a::b(c)', \"d::e(\")",
        "# v_2 = aten::clamp_min(v_0, v_1)",
        "v_1 = v_0 # was: v_1 = aten::clamp_min(v_0, v_1)",
        "v_1 = self.aten",
        "print(aten::clamp_min(v_0))",
        "v_1 == aten::clamp_min(v_0)",
        "v_1=aten::clamp_min(v_0)",
        "v_1 = aten::clamp_min",
        "v_1 = aten::clamp_min(v_0",
        "v_1 = aten::clamp_min(v_0]",
        "v_1 = aten::clamp_min(v_0).t()",
        "v_1 = aten::clamp_min(v_0); v_2 = 0",
        "v_1 = v_0[aten::clamp_min(v_0)]",
        "v_1 = ::clamp_min(v_0)",
        "v_1 = 1::clamp_min(v_0)",
    ],
)
def test_no_leaked_call(statement: str) -> None:
    assert source(statement).leaks == []


@pytest.mark.parametrize(
    ("statement", "operator", "targets", "arguments"),
    [
        ("v_2 = aten::clamp_min(v_0, v_1)", "aten::clamp_min", ("v_2",), ("v_0", "v_1")),
        ("v_4, v_5 = aten::var_mean(v_0)", "aten::var_mean", ("v_4", "v_5"), ("v_0",)),
        ("v_4,v_5 = aten::var_mean()", "aten::var_mean", ("v_4", "v_5"), ()),
        (
            "v_2 = a::b::c(v_0[::2], [v_1, 'x,)'], f(1, 2))",
            "a::b::c",
            ("v_2",),
            ("v_0[::2]", "[v_1, 'x,)']", "f(1, 2)"),
        ),
        ("v_2 = aten::f(v_0)   # aten::g(", "aten::f", ("v_2",), ("v_0",)),
        ("v_2 = aten::f( v_0 ,v_1 )\t", "aten::f", ("v_2",), ("v_0", "v_1")),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_leaked_call(
    statement: str, operator: str, targets: tuple[str, ...], arguments: tuple[str, ...], end: str
) -> None:
    file = source("v_1 = 0", statement, end=end)
    assert [(call.operator, call.targets, call.arguments) for call in file.leaks] == [
        (operator, targets, arguments)
    ]
    (call,) = file.leaks
    line = file.lines[call.line]
    assert line[call.column - 1 :].startswith(operator)
    assert line.strip() == statement.strip()
    assert file.dump() == file.data


@pytest.mark.parametrize("quotes", ['"""', "'''"])
def test_leak_inside_a_long_string_is_none(quotes: str) -> None:
    text = f"x = {quotes}\n        v_2 = aten::clamp_min(v_0, v_1)\n        {quotes}"
    assert source(text).leaks == []
    assert [call.line for call in source(text, "v_3 = aten::f(v_0)").leaks] == [10]


# rewriting

COMMENT = st.sampled_from(["", "  # note", " # aten::f(v_0)", "   ", " # é, \u4e2d"])
INDENT = st.sampled_from(["        ", "\t", "  \t", ""])
TARGETS = st.sampled_from(["v_2", "v_2, v_3", "v_2,v_3", "out"])
ARGUMENTS = st.lists(
    st.sampled_from(
        ["v_0", "v_1", "[v_0, 1]", "'(,)'", "f(v_0, k=(1, 2))", "v_0[::2, 1:]", "-1.5e-3", "{'a': 1}"]
    ),
    max_size=5,
)


@given(INDENT, TARGETS, st.sampled_from(["aten::f", "prim::DictConstruct", "a::b::c"]), ARGUMENTS, COMMENT)
def test_rewriting_keeps_all_but_the_expression(
    indent: str, targets: str, operator: str, arguments: list[str], comment: str
) -> None:
    line = f"{indent}{targets} = {operator}({', '.join(arguments)}){comment}"
    for end in ("", "\r"):
        expected = f"{indent}{targets} = torch.g(v_0, min=0.5){comment}{end}"
        assert rewrite_statement(line + end, operator, "torch.g(v_0, min=0.5)") == expected
    assert split_arguments(", ".join(arguments) + ")" + comment) == tuple(arguments)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "nan.0", "-nan", "0.5", "True"])
def test_rewriting_a_value_keeps_its_comment(value: str) -> None:
    line = f"        v_1 = {value}  # bound\r"
    assert rewrite_statement(line, None, "float('inf')") == "        v_1 = float('inf')  # bound\r"


@pytest.mark.parametrize(
    "statement",
    [
        "v_2 = aten::f(v_0, v_1 +)",
        "v_2 = aten::f(aten::g(v_0), v_1)",
        "class = aten::f(v_0)",
        "v_2 = aten::f(0x)",
        "v_2 = aten::f(v_0, 'a\\')",
        *(f"v_2 = aten::f({'[' * n}{']' * n})" for n in (600, 3000, 40000)),
    ],
)
def test_statement_that_is_no_python_either_way_is_refused_with_its_line(statement: str) -> None:
    file = source("v_1 = 0", statement)
    calls = file.leaks
    assert calls or len(statement) > 10_000 or statement.count("'") == 2
    for call in calls:
        with pytest.raises(ParseError, match="no Python") as caught:
            file.replace_call(call, "torch.g(v_0)")
        assert (caught.value.line, caught.value.column) == (9, 9)


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_edits_keep_all_other_bytes(end: str) -> None:
    file = source("v_1 = 0", "v_5 = inf # é", "v_2 = aten::clamp_min(v_0, v_1)  # keep", "v_3 = v_0", end=end)
    (call,) = file.leaks
    file.replace_call(call, "torch.clamp_min(v_0, 0)")
    file.replace_value(file.constants["v_5"].line, "float('inf')")
    file.remove(file.constants["v_1"].line)
    expected = source("v_5 = float('inf') # é", "v_2 = torch.clamp_min(v_0, 0)  # keep", "v_3 = v_0", end=end)
    assert file.dump() == expected.data


@given(st.text("abc_:=()[]{},'\"# \n\r\t0", max_size=300))
def test_any_text_is_read_and_written_alike(text: str) -> None:
    data = (HEAD + text).encode()
    file = PythonFile(data, "m_pnnx.py")
    assert file.dump() == data
    for call in file.leaks:
        assert file.lines[call.line][call.column - 1 :].startswith(call.operator + "(")
        assert file.forward[0] <= call.line < file.forward[1]
    assert all(file.lines[value.line].split() for value in file.constants.values())
    assert len(file.reads) <= len(text)


@given(st.text("ab,()[]{}'\"# \\", max_size=60))
def test_arguments_are_parts_of_the_text(text: str) -> None:
    arguments = split_arguments(text)
    if arguments is not None:
        at = 0
        for argument in arguments:
            at = text.index(argument, at) + len(argument)
        assert ")" in text[at:]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("a, b", None),
        (")", ()),
        ("a)", ("a",)),
        ("a,)", ("a",)),
        ("a, [b, (c, d)], {e: f}) # x", ("a", "[b, (c, d)]", "{e: f}")),
        ("'),', \"(\")", ("'),'", '"("')),
        ("a) b", None),
        ("a]", None),
        ("'a)", None),
        ("(" * 50_000 + ")" * 50_001, None),
        (r"'a\'b', c)", (r"'a\'b'", "c")),
    ],
    ids=range(12),
)
def test_arguments(text: str, expected: tuple[str, ...] | None) -> None:
    assert split_arguments(text) == expected


# generated files, and what may stand in their place


@pytest.mark.parametrize(
    "path", sorted(FIXTURES.rglob("*_pnnx.py")), ids=lambda p: str(p.relative_to(FIXTURES))
)
def test_fixture_is_read_and_written_alike(path: Path) -> None:
    data = path.read_bytes()
    file = PythonFile(data, str(path))
    assert file.is_generated
    assert file.dump() == data
    lines = data.decode().split("\n")
    first, last = file.forward
    assert lines[first - 1].strip().startswith("def forward(self")
    assert lines[last].startswith(("def ", "    def ", "if "))
    leaked = [at for at, line in enumerate(lines) if "::" in line.partition("[")[0]]
    assert [call.line for call in file.leaks] == leaked
    is_named_badly = b" self.0 = nn." in data or b"block1-0 = nn." in data
    assert (syntax_error(data, "x") is not None) == (bool(leaked) or b" = nan.0\n" in data or is_named_badly)
    if is_named_badly:
        return
    assert syntax_error(hide_leaks(data).replace(b" = nan.0\n", b" = nan\n"), "x") is None


@pytest.mark.parametrize(
    ("data", "line", "reason"),
    [(b"a\n\xff\n", 2, "UTF-8"), (b"a\n\nb\x00", 3, "NUL"), ("a = 1".encode("utf-16"), 1, "NUL")],
    ids=["latin-1", "nul", "utf-16"],
)
def test_no_text_is_refused_with_its_line(data: bytes, line: int, reason: str) -> None:
    with pytest.raises(ParseError, match=reason) as caught:
        PythonFile(data, "m_pnnx.py")
    assert caught.value.line == line


@pytest.mark.parametrize(
    "body",
    [
        "v_1 = " + "(" * 100_000,
        "v_1 = " + "(" * 150 + "0" + ")" * 150,
        "v_1 = " + "-" * 50_000 + "1",
        "v_1 = " + "1+" * 50_000 + "1",
        "v_1 = " + "a." * 50_000 + "a",
        "v_1 = " + "f(" * 50_000,
        "v_1 = " + "not " * 20_000 + "1",
        "v_1 = " + "lambda:" * 20_000 + "1",
        "v_1 = " + "9" * 10_000,
        "v_1 = 9**9**9**9",
        "v_1 = 'a' * 10**12",
        "v_1 = f'" + "{f'" * 100 + "'",
        "\n".join(" " * at + "if 1:" for at in range(200)),
    ],
    ids=range(13),
)
def test_hostile_expressions_end_in_an_answer(body: str) -> None:
    start = time.monotonic()
    file = source(body)
    assert file.leaks == []
    error = syntax_error(file.data, "m_pnnx.py")
    assert error is None or isinstance(error, SyntaxError)
    is_broken_statement("        " + body)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("name", sorted({*encodings.aliases.aliases.values(), "nonsense", "undefined"}))
def test_declared_encodings_end_in_an_answer(name: str) -> None:
    error = syntax_error(f"# -*- coding: {name} -*-\nv_1 = 0\n".encode(), "m_pnnx.py")
    assert error is None or isinstance(error, SyntaxError)


LONG = 300_000


@pytest.mark.parametrize(
    "text",
    [
        "v_1 = " + "a::" * LONG,
        "v_1 = " + "v_0[::1]," * LONG,
        "v_1 = aten::f(" + "a::b," * LONG,
        "v_1 = " + "a" * LONG,
        "v_" + "1" * LONG + " = " + "#" * LONG + " x",
        "a, " * LONG,
        " " * LONG,
        "v_1 = a::" + "b" * LONG,
        "\n" * LONG,
        " = a::b" * LONG,
    ],
    ids=range(10),
)
def test_long_lines_cost_their_length(text: str) -> None:
    start = time.monotonic()
    file = source(text, "v_2 = aten::clamp_min(v_0, v_9)")
    assert [call.operator for call in file.leaks][-1:] == ["aten::clamp_min"]
    assert len(file.constants) <= 1
    assert file.bare_specials == []
    assert hide_leaks(file.data)
    assert file.reads["v_9"] == 1
    assert time.monotonic() - start < 10  # quadratic ones take minutes


@settings(max_examples=30)
@given(st.text(max_size=100))
def test_one_statement_is_broken_or_not(text: str) -> None:
    assert is_broken_statement(text) in (True, False)
    assert is_broken_statement("        v_1 = " + text) in (True, False)
