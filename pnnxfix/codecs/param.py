"""The lossless reader and writer of `.param` files, both flavours (`.ncnn.param`, `.pnnx.param`).

A file is its lines; every line keeps its text until a row of it is replaced, so what nobody
touches keeps its bytes: padding, line ends, blank lines, a missing final newline. Format: line 1
`7767517`, line 2 `<rows> <blobs>`, then one row per line: type, name, input count, output
count, inputs, outputs, and the rest (parameters and annotations), separated by blanks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from pnnxfix.codecs.lines import Lines
from pnnxfix.errors import ParseError

MAGIC = "7767517"

# A blank in the sense of C's isspace would be read as such by ncnn and by str.split alike; any
# other control character, and blanks beyond ASCII, would not, so they are refused.
_CONTROL = [bytes([code]) for code in (*range(32), 127) if code not in b"\t\n\r"]
_WIDE_BLANK = "[\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]"
_WORD = r"\S+"

Row = list[str]


class ParamFile:
    """One `.param` file: its lines. Rows share their index; the first row is that of `first_row`."""

    __slots__ = ("_data", "blob_count", "first_row", "layer_count", "lines", "path")

    def __init__(self, path: str, data: bytes, lines: Lines, first_row: int, counts: tuple[int, int]) -> None:
        self.path = path
        self._data = data
        self.lines = lines
        self.first_row = first_row
        self.layer_count, self.blob_count = counts

    def row(self, index: int) -> Row:
        """The words of a line, none of a blank one."""
        return self.lines[index].split()

    def rows(self) -> Iterator[tuple[int, Row]]:
        """The rows with their index, blank lines left out. Cost: splitting all lines."""
        for index, line in enumerate(islice(self.lines, self.first_row, None), self.first_row):
            if row := line.split():
                yield index, row

    def column(self, index: int, word: int) -> int:
        """The column, from 1, of a word of a line."""
        for at, match in enumerate(re.finditer(_WORD, self.lines[index])):
            if at == word:
                return match.start() + 1
        return 1

    def dump(self, edits: Mapping[int, Sequence[Row]], counts: tuple[int, int] | None = None) -> bytes:
        """The file's bytes with the rows of some lines replaced (by none: removed) and new counts."""
        return b"".join(self.pieces(edits, counts))

    def pieces(
        self, edits: Mapping[int, Sequence[Row]], counts: tuple[int, int] | None = None
    ) -> list[bytes | memoryview]:
        """The same in pieces, without a copy of what stays. Cost: one rendering for each replaced line."""
        new = {index: [_render(self.lines[index], row) for row in rows] for index, rows in edits.items()}
        if counts:
            header = self.first_row - 1
            new[header] = [_replace_counts(self.lines[header], counts)]
        pieces: list[bytes | memoryview] = []
        data = memoryview(self._data)
        done = 0
        for index in sorted(new):
            pieces.append(data[done : self.lines.start(index)])
            pieces += [f"{line}\n".encode() for line in new[index]]
            done = self.lines.start(index + 1)
        pieces.append(data[done:])
        # The last line, and so what takes its place, has no line feed.
        return pieces if done <= len(data) else [b"".join(pieces)[:-1]]


def parse_param(data: bytes, path: str) -> ParamFile:
    """Read a `.param` file.

    Raises ParseError where the bytes are no text graph: empty, binary, not UTF-8, a byte order
    mark, a wrong magic number, counts that are no numbers. Rows are not looked at here.
    """
    if not data or data.isspace():
        raise ParseError(path, 0, 0, "the file is empty")
    if data.startswith(b"\xef\xbb\xbf"):
        raise ParseError(
            path, 1, 1, "the file begins with a byte order mark, which ncnn does not read; save it without"
        )
    found = [data.index(code) for code in _CONTROL if code in data]  # many times faster than a pattern
    if found:
        offset = min(found)
        reason = f"byte {data[offset]:#04x} does not belong in a text graph; is this a binary file?"
        raise _at(data, offset, path, reason)
    if not data.isascii():
        _refuse_wide_blanks(data, path)
    lines = Lines(data)
    content = ((index, row) for index, line in enumerate(lines) if (row := line.split()))
    magic, words = next(content)
    if words != [MAGIC]:
        raise ParseError(
            path,
            magic + 1,
            1,
            f"a graph begins with the line {MAGIC}, this one with {_shorten(' '.join(words))!r}",
        )
    header, words = next(content, (-1, []))
    if not words:
        raise ParseError(path, magic + 1, 1, "the file ends before the line with the two counts")
    if len(words) != 2 or not all(is_count(word) for word in words):
        reason = f"expected two whole numbers, rows and blobs, and found {_shorten(' '.join(words))!r}"
        raise ParseError(path, header + 1, 1, reason)
    return ParamFile(path, data, lines, header + 1, (int(words[0]), int(words[1])))


def _refuse_wide_blanks(data: bytes, path: str) -> None:
    """Raises ParseError for them, and for what is no UTF-8."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _at(data, error.start, path, "the file is not UTF-8 text") from None
    wide = re.search(_WIDE_BLANK, text)
    if wide is not None:
        before = text[: wide.start()]
        reason = "a blank that is not ASCII, which ncnn takes for part of a name"
        raise ParseError(path, before.count("\n") + 1, wide.start() - before.rfind("\n"), reason)


def explain_row(row: Row) -> tuple[int, str]:
    """Why a row cannot be read: the word that is at fault, counted from 0, and the reason."""
    if len(row) < 4:
        return 0, f"a row needs a type, a name and two counts, and this one has {len(row)} words"
    for word in (2, 3):
        if not is_count(row[word]):
            return word, f"expected a count and found {_shorten(row[word])!r}"
    needed, found = int(row[2]) + int(row[3]), len(row) - 4
    return 0, f"the row announces {needed} inputs and outputs and has {found}"


def is_count(word: str) -> bool:
    """Whether a word is a whole number that a count can be."""
    return len(word) <= 9 and word.isascii() and word.isdigit()


def format_row(row: Sequence[str]) -> str:
    """A row as pnnx writes it: type and name padded to 24 characters, then single blanks."""
    return " ".join((f"{row[0]:<24}", f"{row[1]:<24}", *row[2:]))


def _render(old_line: str, row: Row) -> str:
    """A new row in the layout of the line whose place it takes."""
    old_row = old_line.split()
    if row == old_row:
        return old_line
    body = old_line.rstrip()
    end = old_line[len(body) :]
    if body == format_row(old_row):
        return format_row(row) + end
    starts = [match.start() for match in re.finditer(_WORD, body)][:3]
    text = " " * starts[0] + row[0]
    for start, word in zip(starts[1:], (row[1], " ".join(row[2:])), strict=True):
        text = f"{text} ".ljust(start) + word
    return text + end


def _replace_counts(line: str, counts: Iterable[int]) -> str:
    numbers = iter(counts)
    return re.sub(_WORD, lambda _: str(next(numbers)), line)


def _at(data: bytes, offset: int, path: str, reason: str) -> ParseError:
    line_start = data.rfind(b"\n", 0, offset) + 1
    return ParseError(path, data.count(b"\n", 0, offset) + 1, offset - line_start + 1, reason)


def _shorten(text: str, limit: int = 40) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
