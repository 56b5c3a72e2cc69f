"""The console log reader: real logs of all releases, made-up ones, hostile ones."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pnnxfix.codecs.console import MAX_LINE, Console, IgnoredParameter, read_console
from pnnxfix.errors import ParseError

FIXTURES = Path(__file__).parents[2] / "fixtures"
LOGS = sorted(FIXTURES.glob("2*/*/pnnx.log"))
NOTHING = Console({}, {}, "", False)


def read(text: str | bytes) -> Console:
    return read_console(io.BytesIO(text.encode() if isinstance(text, str) else text))


# What gives nothing comes first.


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "ignore",
        "ignore a b",
        "ignore a b param",
        "ignore a b param c",
        "ignore a b attr c=1",
        " ignore a b param c=1",
        "we ignore a b param c=1",
        "fp16 = 1",
        "pnnxparam=a",
        "pnnxother = a",
        "inputshape2 = [1]f32",
        "pass_ncnn",
        "############# pass_level5",
        b"\xff\xfe\x00ignore\x00",
    ],
)
def test_gives_nothing(text: str | bytes) -> None:
    assert read(text) == NOTHING


def test_line_too_long_gives_nothing_and_the_next_is_read() -> None:
    long = "ignore a b param c=" + "1" * (3 * MAX_LINE)
    console = read(f"{long}\nignore a b param d=2\n{long}")
    assert console.ignored == {("a", "b"): (IgnoredParameter("d", "2", 2),)}


def test_missing_file_and_directory(tmp_path: Path) -> None:
    for path in (tmp_path / "none.log", tmp_path):
        with pytest.raises(ParseError, match="cannot be read"):
            read_console(path)


# What is read.


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ignore pnnx.Expression e0 param expr=0.5", IgnoredParameter("expr", "0.5", 1)),
        ("ignore pnnx.Expression e0 param expr=", IgnoredParameter("expr", "", 1)),
        ("ignore pnnx.Expression e0 param expr=a = b  c ", IgnoredParameter("expr", "a = b  c ", 1)),
        ("ignore pnnx.Expression e0 param expr=1\r", IgnoredParameter("expr", "1", 1)),
    ],
)
def test_ignored_value(line: str, expected: IgnoredParameter) -> None:
    assert read(line).ignored == {("pnnx.Expression", "e0"): (expected,)}
    assert read(f"{line}\n").ignored == {("pnnx.Expression", "e0"): (expected,)}


def test_several_parameters_of_one_operator() -> None:
    console = read("ignore t n param b=1\nignore t m param a=2\nignore t n param a=3\n")
    assert console.ignored == {
        ("t", "n"): (IgnoredParameter("b", "1", 1), IgnoredParameter("a", "3", 3)),
        ("t", "m"): (IgnoredParameter("a", "2", 2),),
    }


def test_bytes_that_are_not_utf8() -> None:
    console = read(b"pnnxparam = \xe4.pnnx.param\nignore t n param a=\xff\n")
    assert console.paths == {"pnnxparam": "\ufffd.pnnx.param"}
    assert console.ignored["t", "n"][0].value == "\ufffd"


def test_the_last_run_counts() -> None:
    run = "pnnxparam = {0}\npnnxbin = {0}\ninputshape = [{0}]f32\nignore t {0} param a=1\n"
    console = read(run.format(1) + "############# pass_ncnn\n" + run.format(2))
    assert console.paths == {"pnnxparam": "2", "pnnxbin": "2"}
    assert list(console.ignored) == [("t", "2")]
    assert console.inputshape == "[2]f32"
    assert not console.complete


def test_shape_from_traced_inputs() -> None:
    text = "pnnxparam = p\ninputshape = \nget inputshape from traced inputs\ninputshape = [1,3]f32\n"
    assert read(f"{text}inputshape = \n").inputshape == "[1,3]f32"


WORD = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Z", "Cc")), min_size=1, max_size=8)
VALUE = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=20)


@given(st.lists(st.tuples(WORD, WORD, WORD.filter(lambda key: "=" not in key), VALUE)), VALUE, st.booleans())
@settings(max_examples=40, deadline=None)
def test_any_log_comes_back(rows: list[tuple[str, str, str, str]], path: str, complete: bool) -> None:
    lines = [f"pnnxparam = {path}", f"ncnnbin = {path}", *["############# pass_ncnn"] * complete]
    expected: dict[tuple[str, str], tuple[IgnoredParameter, ...]] = {}
    for kind, name, key, value in rows:
        lines += ["fallback batch axis 233 for operand 1", f"ignore {kind} {name} param {key}={value}"]
        expected[kind, name] = (*expected.get((kind, name), ()), IgnoredParameter(key, value, len(lines)))
    assert read("\n".join(lines)) == Console({"pnnxparam": path, "ncnnbin": path}, expected, "", complete)


@given(st.binary(max_size=300) | st.lists(st.sampled_from(b"ignorepaam =\n\xff")).map(bytes))
@settings(deadline=None)
def test_any_bytes_are_read(data: bytes) -> None:
    assert isinstance(read(data), Console)


def test_memory_does_not_grow_with_warnings(tmp_path: Path) -> None:
    path = tmp_path / "pnnx.log"
    with path.open("wb") as log:
        log.write(b"pnnxparam = p\n")
        for _ in range(20):
            log.write(b"reshape to 5-rank tensor is not supported\n" * 10_000)
        log.write(b"x" * 40_000_000)
        log.write(b"\nignore t n param a=1\n")
    tracemalloc.start()
    try:
        console = read_console(path)
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_LINE
    finally:
        tracemalloc.stop()
    assert console.ignored == {("t", "n"): (IgnoredParameter("a", "1", 200_003),)}


# Real logs.


def test_there_are_logs_of_several_releases() -> None:
    assert len({path.parts[-3] for path in LOGS}) >= 4


@pytest.mark.parametrize("path", LOGS, ids=lambda path: "-".join(path.parts[-3:-1]))
def test_real_log(path: Path) -> None:
    console = read_console(path)
    assert console.complete
    assert set(console.paths) == {
        "pnnxparam", "pnnxbin", "pnnxpy", "pnnxonnx", "ncnnparam", "ncnnbin", "ncnnpy",
    }  # fmt: skip
    assert {(path.parent / name).name for name in console.paths.values()} <= {
        file.name for file in path.parent.iterdir()
    }
    assert console.inputshape.startswith("[")


@pytest.mark.parametrize("path", LOGS, ids=lambda path: "-".join(path.parts[-3:-1]))
def test_every_expression_of_the_ncnn_param_has_its_value(path: Path) -> None:
    console = read_console(path)
    param = path.parent / Path(console.paths["ncnnparam"]).name
    rows = [line.split() for line in param.read_text().splitlines() if line.startswith("pnnx.Expression ")]
    for row in rows:
        assert [parameter.key for parameter in console.ignored[row[0], row[1]]] == ["expr"]
    expressions = [operator for operator in console.ignored if operator[0] == "pnnx.Expression"]
    assert expressions == [(row[0], row[1]) for row in rows]
