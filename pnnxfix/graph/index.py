"""Who makes and who reads each operand of a graph, as its rows were read.

Nearly every row of a network has one input and one output, and reads what the row before it makes.
Such a link takes no look-up and no place, so that a large graph is read in little more time than
its lines take to be split.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from functools import cached_property

Row = list[str]

_SPLITS = 6
"""The words up to an input and an output; the rest of a row is split only where its counts are others."""


class MalformedRow(Exception):
    """A row whose counts are no numbers or do not fit the words that it has."""

    def __init__(self, index: int) -> None:
        self.index = index
        super().__init__(f"row {index}")


class Index:
    """The edges among `lines[first:]`; a row is named by the place of its line.

    `by_type` has the rows of each type, in order. `producer` has the row that makes an
    operand, the first one if there are several. Faults that the rows have among themselves:
    `duplicates` are (operand, row) of a second producer, `early` of a reader that stands before any.
    """

    def __init__(self, lines: Sequence[str], first: int) -> None:
        """Cost: linear in the lines. Raises MalformedRow."""
        self._lines = lines
        self._first = first
        self.by_type: dict[str, list[int]] = {}
        self.producer: dict[str, int] = {}
        self.duplicates: list[tuple[str, int]] = []
        self.early: list[tuple[str, int]] = []
        # What rows read, but for the links: from a row with one output to the next with one input. The
        # operand, the reader, and the row that had made the operand by then.
        self._far: list[tuple[str, int, int | None]] = []
        # The rows that do not just read what a row before them makes; there is one more than there are lines.
        self._unlinked: Container[int] = ()
        if not self._read():
            self._read_each_edge()

    def _read(self) -> bool:
        """Fill the lists; whether all rows stand in order, so that each link is one."""
        by_type: defaultdict[str, list[int]] = defaultdict(list)
        far, split = self._far, _SPLITS
        producer = self.producer
        unlinked: set[int] = set()
        more = 0  # outputs than rows
        before = ""
        at = self._first
        try:
            # The loop whose time grows with the file: no call but the one that splits.
            for at, line in enumerate(_skip(self._lines, self._first), self._first):
                row = line.split(None, split)
                if row and row[2] == "1" == row[3]:
                    if row[4] != before:
                        far.append((row[4], at, producer.get(row[4])))
                        unlinked.add(at)
                    before = row[5]
                    producer[before] = at
                    by_type[row[0]].append(at)
                    continue
                before = ""
                unlinked.add(at)
                if row:
                    by_type[row[0]].append(at)
                    inputs, outputs = _split_operands(row if len(row) <= split else line.split())
                    for name in inputs:
                        far.append((name, at, producer.get(name)))
                    for name in outputs:
                        producer[name] = at
                    more += len(outputs) - 1
        except (ValueError, IndexError):
            raise MalformedRow(at) from None
        self.by_type = dict(by_type)
        unlinked.add(at + 1)
        self._unlinked = unlinked
        made = more + sum(map(len, by_type.values()))
        return made == len(producer) and all(maker is not None for _, _, maker in far)

    def _read_each_edge(self) -> None:
        """What a row reads may be made elsewhere than in the row before it: all edges, one by one."""
        self.producer, self._far = {}, []
        self._unlinked = range(len(self._lines) + 1)
        for at, line in enumerate(_skip(self._lines, self._first), self._first):
            inputs, outputs = _split_operands(line.split())
            for name in inputs:
                self._far.append((name, at, self.producer.get(name)))
                if name not in self.producer:
                    self.early.append((name, at))
            for name in outputs:
                if name in self.producer:
                    self.duplicates.append((name, at))
                else:
                    self.producer[name] = at

    def users(self, operand: str) -> list[int]:
        """The rows that read an operand, once for each time they do."""
        readers = self._readers.get(operand, ())
        at = self.producer.get(operand)
        return [at + 1, *readers] if at is not None and at + 1 not in self._unlinked else [*readers]

    def is_read(self, operand: str) -> bool:
        """Whether a row reads an operand."""
        if operand in self._readers:
            return True
        at = self.producer.get(operand)
        return at is not None and at + 1 not in self._unlinked

    @cached_property
    def shared(self) -> dict[str, list[int]]:
        """Operands that are read more than once, with the rows of the later readers."""
        found: dict[str, list[int]] = {}
        reads: dict[str, int] = {}
        for name, at, maker in self._far:
            if name in reads:
                before = reads[name]
            else:
                before = int(maker is not None and maker + 1 not in self._unlinked)
            if before:
                found.setdefault(name, []).append(at)
            reads[name] = before + 1
        return found

    @cached_property
    def _readers(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for name, at, _ in self._far:
            found.setdefault(name, []).append(at)
        return found


def _skip(lines: Sequence[str], count: int) -> Iterator[str]:
    """The lines behind the first ones; without a look at the others on the way, as islice takes."""
    iterator = iter(lines)
    for _ in zip(range(count), iterator, strict=False):
        pass
    return iterator


def _split_operands(row: Row) -> tuple[Row, Row]:
    """The inputs and the outputs of a row; none of a blank one. Raises ValueError, IndexError."""
    if not row:
        return [], []
    middle = 4 + _COUNTS[row[2]]
    end = middle + _COUNTS[row[3]]
    if len(row) < end:
        raise ValueError(end)
    return row[4:middle], row[middle:end]


class _Counts(dict[str, int]):
    """The number that a word is; few of them are ever met."""

    def __missing__(self, word: str) -> int:
        if len(word) > 9 or not word.isascii() or not word.isdigit():
            raise ValueError(word)
        self[word] = number = int(word)
        return number


_COUNTS = _Counts()
