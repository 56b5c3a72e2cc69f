"""Lines that are made again on demand are those that splitting the whole text gives."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pnnxfix.codecs.lines import Lines

TEXTS = st.text(st.sampled_from("ab\n\r\x0b\u2028ä💧"), max_size=60)


@given(TEXTS, st.integers(1, 9), st.booleans())
def test_lines_are_those_of_the_text(text: str, times: int, is_walked: bool) -> None:
    data = (text * times).encode()
    expected = (text * times).split("\n")
    lines = Lines(data)
    if is_walked:
        assert list(lines) == expected
    assert len(lines) == len(expected)
    assert [lines[at] for at in range(len(lines))] == expected
    assert lines[-1] == expected[-1]
    assert lines[1:3] == expected[1:3]
    starts = [lines.start(at) for at in range(len(lines) + 1)]
    assert [data[a : b - 1] for a, b in pairwise(starts)] == data.split(b"\n")


def test_pieces_end_where_lines_do() -> None:
    expected = [f"{at:>{at % 70}}ä" for at in range(20_000)]
    lines = Lines("\n".join(expected).encode())
    first = iter(lines)
    assert next(first) == expected[0]  # a walk that stops early tells nothing of the other lines
    assert lines[19_999] == expected[-1]
    assert list(lines) == expected
