"""The reader and writer of `.param` files: every byte that no edit touches stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pnnxfix.codecs.param import ParamFile, explain_row, format_row, is_count, parse_param
from pnnxfix.errors import ParseError

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"

WORDS = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_categories=("Z", "C")),
    min_size=1,
    max_size=30,
)
BLANKS = st.text(" \t", min_size=1, max_size=12)
ENDS = st.sampled_from(["\n", "\r\n", " \n", "\t\r\n", "\n\n", "\n \n"])


@st.composite
def rows(draw: st.DrawFn) -> list[str]:
    inputs, outputs = draw(st.lists(WORDS, max_size=3)), draw(st.lists(WORDS, max_size=3))
    kind, name, rest = draw(WORDS), draw(WORDS), draw(st.lists(WORDS, max_size=4))
    return [kind, name, str(len(inputs)), str(len(outputs)), *inputs, *outputs, *rest]


@st.composite
def layouts(draw: st.DrawFn, row: list[str]) -> str:
    """A row in a layout of somebody's own, or in pnnx's."""
    if draw(st.booleans()):
        return format_row(row)
    text = draw(st.text(" \t", max_size=3)) + row[0]
    for word in row[1:]:
        text += draw(BLANKS) + word
    return text


@st.composite
def files(draw: st.DrawFn) -> bytes:
    content = draw(st.lists(rows(), max_size=8))
    lines = ["7767517", f"{len(content)} {draw(st.integers(0, 999_999_999))}"]
    lines += [draw(layouts(row)) for row in content]
    text = "".join(line + draw(ENDS) for line in lines)
    return (text if draw(st.booleans()) else text.rstrip()).encode()


@given(files())
def test_what_nobody_edits_keeps_its_bytes(data: bytes) -> None:
    assert parse_param(data, "x").dump({}) == data


@given(
    st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode), files()), st.integers(0, 400)
)
def test_any_bytes_are_read_or_refused_with_a_position(data: bytes, cut: int) -> None:
    for piece in (data, b"7767517\n" + data, b"7767517\n1 1\n" + data, data[:cut]):
        outcome = read_or_refuse(piece)
        if isinstance(outcome, ParamFile):
            assert outcome.dump({}) == piece
        else:
            assert outcome.reason
            assert 0 <= outcome.line <= piece.count(b"\n") + 1
            assert (outcome.line == 0) == (outcome.column == 0)


def read_or_refuse(data: bytes) -> ParamFile | ParseError:
    try:
        return parse_param(data, "x")
    except ParseError as error:
        return error


@given(files(), st.data())
def test_an_edit_keeps_all_other_bytes(data: bytes, pick: st.DataObject) -> None:
    file = parse_param(data, "x")
    handles = [at for at, _ in file.rows()]
    chosen = pick.draw(st.lists(st.sampled_from(handles), unique=True) if handles else st.just([]))
    edits = {at: pick.draw(st.lists(rows(), max_size=3)) for at in chosen}
    counts = pick.draw(st.none() | st.tuples(st.integers(0, 99_999), st.integers(0, 99_999)))
    again = parse_param(file.dump(edits, counts), "x")
    assert (again.layer_count, again.blob_count) == (counts or (file.layer_count, file.blob_count))
    expected_rows: list[list[str]] = []
    kept_lines: list[str] = []
    for at, line in enumerate(file.lines):
        expected_rows += edits.get(at, [file.row(at)])
        if at not in edits and not (counts and at == file.first_row - 1):
            kept_lines.append(line)
    assert [row for _, row in again.rows()] == [row for row in expected_rows[file.first_row :] if row]
    remaining = iter(again.lines)
    assert all(any(line == other for other in remaining) for line in kept_lines), "a line was touched"


@given(rows(), rows(), st.data())
def test_a_replaced_row_keeps_its_layout_and_line_end(
    old: list[str], new: list[str], pick: st.DataObject
) -> None:
    line, end = pick.draw(layouts(old)), pick.draw(st.sampled_from(["", "\r", "  ", "\t\r"]))
    file = parse_param(f"7767517\n1 1\n{line}{end}\n".encode(), "x")
    after = file.dump({2: [new]}).decode().split("\n")[2]
    assert after.endswith(end)
    assert after.split() == new
    if line == format_row(old):
        assert after == format_row(new) + end
    if new == old:
        assert after == line + end


@pytest.mark.parametrize(
    ("line", "row", "expected"),
    [
        ("Input   in0  0 1 in0", ["Clip", "c", "1", "1", "a", "b", "0=1.0"], "Clip    c    1 1 a b 0=1.0"),
        ("A b 1 1 x y", ["LongName", "c", "0", "1", "y"], "LongName c 0 1 y"),
        ("\tA\tb\t0\t1\ty", ["B", "c", "0", "1", "y"], " B c 0 1 y"),
        (
            format_row(["A", "b", "0", "1", "y"]),
            ["B", "c" * 30, "0", "1", "y"],
            f"{'B':<24} {'c' * 30} 0 1 y",
        ),
    ],
    ids=["columns", "no-columns", "tabs", "pnnx"],
)
def test_layout_of_a_replaced_row(line: str, row: list[str], expected: str) -> None:
    file = parse_param(f"7767517\n1 1\n{line}\n".encode(), "x")
    assert file.dump({2: [row]}).decode().split("\n")[2] == expected


@pytest.mark.parametrize(
    "path", sorted(FIXTURES.rglob("*.param")), ids=lambda p: str(p.relative_to(FIXTURES))
)
def test_fixture_is_read_and_written_alike(path: Path) -> None:
    data = path.read_bytes()
    file = parse_param(data, str(path))
    assert file.dump({}) == data
    assert file.dump({}, (file.layer_count, file.blob_count)) == data
    handles = [at for at, _ in file.rows()]
    assert len(handles) == file.layer_count
    assert file.dump({at: [file.row(at)] for at in handles}) == data
    # pnnx's own layout, so a row that takes another's place looks as if pnnx had written it
    assert all(format_row(file.row(at)) == file.lines[at] for at in handles)


BAD = {
    "empty": (b"", 0, 0, "empty"),
    "blank": (b" \r\n\t\n", 0, 0, "empty"),
    "bom": (b"\xef\xbb\xbf7767517\n0 0\n", 1, 1, "byte order mark"),
    "utf-16": ("7767517\n0 0\n".encode("utf-16"), 1, 4, "binary"),
    "utf-16-without-mark": ("7767517\n0 0\n".encode("utf-16-le"), 1, 2, "binary"),
    "nul": (b"7767517\n1 1\nInput in0 0 1 in\x000\n", 3, 17, "0x00"),
    "escape": (b"7767517\n1 1\nInput \x1b[2Jin0 0 1 in0\n", 3, 7, "0x1b"),
    "latin-1": (b"7767517\n1 1\nInput in\xe9 0 1 in0\n", 3, 9, "UTF-8"),
    "surrogate": (b"7767517\n1 1\nInput in\xed\xa0\x80 0 1 in0\n", 3, 9, "UTF-8"),
    "wide-blank": ("7767517\n1 1\nInput\u00a0in0 0 1 in0\n".encode(), 3, 6, "not ASCII"),
    "line-separator": ("7767517\u20281 1\n".encode(), 1, 8, "not ASCII"),
    "wrong-magic": (b"7767518\n0 0\n", 1, 1, "7767517"),
    "magic-after-blank-lines": (b"\n\nnonsense\n", 3, 1, "'nonsense'"),
    "zip": (b"PK\x03\x04", 1, 3, "binary"),
    "two-magics-on-a-line": (b"7767517 0 0\n", 1, 1, "'7767517 0 0'"),
    "mac-line-ends": (b"7767517\r1 1\rInput in0 0 1 in0\r", 1, 1, "7767517"),
    "no-counts": (b"7767517\n\n\n", 1, 1, "counts"),
    "one-count": (b"7767517\n1\n", 2, 1, "'1'"),
    "three-counts": (b"7767517\n1 1 1\n", 2, 1, "'1 1 1'"),
    "negative-count": (b"7767517\n1 -1\n", 2, 1, "'1 -1'"),
    "float-count": (b"7767517\n1.0 1\n", 2, 1, "'1.0 1'"),
    "huge-count": (b"7767517\n1 99999999999999999999\n", 2, 1, "whole numbers"),
    "foreign-digits": ("7767517\n\u0663 1\n".encode(), 2, 1, "whole numbers"),
    "long-nonsense": (b"x" * 1_000_000, 1, 1, "xxx..."),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_refused_with_its_position(case: str) -> None:
    data, line, column, reason = BAD[case]
    with pytest.raises(ParseError) as caught:
        parse_param(data, "m.param")
    assert (caught.value.line, caught.value.column) == (line, column)
    assert reason in caught.value.reason
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("row", "word", "reason"),
    [
        (["A"], 0, "1 words"),
        (["A", "b", "x", "1", "y"], 2, "'x'"),
        (["A", "b", "0", "-1", "y"], 3, "'-1'"),
        (["A", "b", "1", "9999999999", "y"], 3, "a count"),
        (["A", "b", "1", "1", "y"], 0, "announces 2 inputs and outputs and has 1"),
    ],
    ids=["short", "no-count", "negative", "huge", "too-few"],
)
def test_row_that_cannot_be_read_is_explained(row: list[str], word: int, reason: str) -> None:
    found, text = explain_row(row)
    assert found == word
    assert reason in text


@given(st.text(max_size=12))
def test_count(word: str) -> None:
    assert is_count(word) == (word.isascii() and word.isdigit() and int(word) < 10**9 and len(word) <= 9)


def test_columns_count_from_one() -> None:
    file = parse_param(b"7767517\n1 1\n  Input \t in0 0 1 in0\n", "x")
    assert [file.column(2, word) for word in range(3)] == [3, 11, 15]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40))
def test_removing_and_adding_rows_keeps_the_line_ends(count: int) -> None:
    lines = [f"Noop n{at} 0 1 b{at}" for at in range(count)]
    data = "".join(line + "\r\n" for line in ("7767517", f"{count} {count}", *lines)).encode()
    file: ParamFile = parse_param(data, "x")
    extra = [["A", "b", "0", "1", "c"], ["D", "e", "0", "1", "f"]]
    after = file.dump({at: [] if at % 2 else extra for at in range(2, count + 2)}, (1, 1))
    assert after.count(b"\r\n") == after.count(b"\n")
    assert after.endswith(b"\r\n")
