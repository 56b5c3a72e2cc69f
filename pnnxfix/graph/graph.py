"""Operators and operands of one graph, either of pnnx or of ncnn.

A graph of 50,000 rows is indexed in some tens of milliseconds and edited by the row: an operator
becomes an object only when somebody asks for it. Nothing is sorted, renamed or cleaned up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Row = list[str]


class MalformedRow(Exception):
    """A row whose counts are no numbers or do not fit the words that it has."""

    def __init__(self, index: int) -> None:
        self.index = index
        super().__init__(f"row {index}")


@dataclass(frozen=True, slots=True)
class Operator:
    """One row: an operator of pnnx or a layer of ncnn.

    `rest` are its words after the operands: parameters, attributes, argument names, shapes.
    """

    type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    rest: tuple[str, ...] = ()

    @classmethod
    def from_row(cls, row: Row) -> Operator:
        first = 4 + int(row[2])
        last = first + int(row[3])
        return cls(row[0], row[1], tuple(row[4:first]), tuple(row[first:last]), tuple(row[last:]))

    def to_row(self) -> Row:
        counts = [str(len(self.inputs)), str(len(self.outputs))]
        return [self.type, self.name, *counts, *self.inputs, *self.outputs, *self.rest]

    def parameter(self, key: str) -> str | None:
        """The text of `key=value`, the last one if it is given twice, as ncnn reads it."""
        found = [word for word in self.rest if word.startswith(key + "=")]
        return found[-1][len(key) + 1 :] if found else None


class Graph:
    """The rows of one graph with an index of who makes and who reads each operand.

    Handles are row indexes and stay valid while the graph is edited. Faults that the rows have
    among themselves are kept for whoever reports them: `duplicates` are (operand, row) of a
    second producer, `early` of a reader that stands before any producer. `row_count` is how many
    rows there were before any edit.
    """

    __slots__ = (
        "_cache",
        "_first",
        "_first_user",
        "_given_out",
        "_more_users",
        "_names",
        "_number",
        "_producer",
        "_rows",
        "duplicates",
        "early",
        "edits",
        "prologue",
        "row_count",
    )

    def __init__(self, rows: Sequence[Row], first: int = 0) -> None:
        """Index `rows[first:]`; cost is linear in the rows. Raises MalformedRow."""
        self._rows = rows
        self._first = first
        self._producer: dict[str, int] = {}
        self._first_user: dict[str, int] = {}
        self._more_users: dict[str, list[int]] = {}
        self._cache: dict[int, Operator] = {}
        self._names: set[str] | None = None
        self._given_out: set[str] = set()
        self._number = 0
        self.duplicates: list[tuple[str, int]] = []
        self.early: list[tuple[str, int]] = []
        self.edits: dict[int, list[Operator]] = {}
        self.prologue: list[Operator] = []
        self.row_count = len(rows) - first
        self._index()

    def _index(self) -> None:
        # The one loop whose cost grows with the file: no call, no object, and first the row that is
        # sound in every respect and has one input and one output, as nearly all have.
        producer, first_user = self._producer, self._first_user
        index = self._first - 1
        row: Row = []
        try:
            for index, row in enumerate(self._rows[self._first :], self._first):
                if not row:
                    self.row_count -= 1
                    continue
                if row[2] == "1" == row[3]:
                    name, made = row[4], row[5]
                    if name in producer and name not in first_user and made not in producer:
                        first_user[name] = producer[made] = index
                        continue
                middle = 4 + _count(row[2])
                end = middle + _count(row[3])
                if len(row) < end:
                    raise MalformedRow(index)
                for name in row[4:middle]:
                    if name not in producer:
                        self.early.append((name, index))
                    if name in first_user:
                        self._more_users.setdefault(name, []).append(index)
                    else:
                        first_user[name] = index
                for name in row[middle:end]:
                    if name in producer:
                        self.duplicates.append((name, index))
                    else:
                        producer[name] = index
        except (ValueError, IndexError):
            raise MalformedRow(index) from None

    # reading

    def __iter__(self) -> Iterator[int]:
        """The handles of the rows as they were read, removed ones left out."""
        for index in range(self._first, len(self._rows)):
            if self._rows[index] and self.edits.get(index) != []:
                yield index

    def heads(self) -> Iterator[tuple[int, str, str]]:
        """Handle, type and name of the rows as they were read, removed ones left out; makes no Operator."""
        for index, row in enumerate(self._rows[self._first :], self._first):
            if row and self.edits.get(index) != []:
                yield index, row[0], row[1]

    def __contains__(self, handle: int) -> bool:
        """Whether a handle is of a row; operators of the prologue have none."""
        return handle >= self._first

    def __getitem__(self, handle: int) -> Operator:
        """The operator of a row: its last one where an edit made several of it."""
        edited = self.edits.get(handle)
        if edited:
            return edited[-1]
        return self._cache.get(handle) or self.original(handle)

    def is_removed(self, handle: int) -> bool:
        return self.edits.get(handle) == []

    def producer(self, operand: str) -> int | None:
        """The handle of the row that makes an operand."""
        return self._producer.get(operand)

    def maker(self, operand: str) -> Operator | None:
        """The operator that makes an operand, which an edit may have put before its row's last."""
        handle = self._producer.get(operand)
        if handle is None:
            return None
        if handle < self._first:
            return next(op for op in self.prologue if operand in op.outputs)
        for operator in self.edits.get(handle, ()):
            if operand in operator.outputs:
                return operator
        return self[handle]

    def users(self, operand: str) -> list[int]:
        """The handles of the rows that read an operand, once for each time they do."""
        first = self._first_user.get(operand)
        return [] if first is None else [first, *self._more_users.get(operand, ())]

    @property
    def shared(self) -> dict[str, list[int]]:
        """Operands that are read more than once, with the handles of the later readers."""
        return self._more_users

    @property
    def operand_count(self) -> int:
        """How many operands have a producer."""
        return len(self._producer)

    def original(self, handle: int) -> Operator:
        """The operator of a row as it was read."""
        operator = self._cache.get(handle)
        if operator is None:
            operator = self._cache[handle] = Operator.from_row(self._rows[handle])
        return operator

    # editing

    def replace(self, handle: int, *operators: Operator) -> None:
        """Put operators in the place of a row; none removes it. Cost: the operands touched.

        The index follows. What the old operators made and nobody makes any more must have no
        reader left when all edits are done: `faults` of the pipeline's check would find it.
        """
        for old in self.edits.get(handle, None) or [self[handle]]:
            for name in old.inputs:
                self._remove_user(name, handle)
            for name in old.outputs:
                if self._producer.get(name) == handle:
                    del self._producer[name]
            if self._names is not None:
                self._names.discard(old.name)
        self.edits[handle] = list(operators)
        for new in operators:
            for name in new.inputs:
                if name in self._first_user:
                    self._more_users.setdefault(name, []).append(handle)
                else:
                    self._first_user[name] = handle
            for name in new.outputs:
                self._producer[name] = handle
            if self._names is not None:
                self._names.add(new.name)

    def replace_operator(self, old: Operator, *new: Operator) -> None:
        """Put operators in the place of one, which is still in the graph and has an output."""
        handle = self._producer[old.outputs[0]]
        if handle < self._first:
            raise ValueError(f"{old.name} was put before all rows, where it stays")
        self.replace(handle, *_substitute(self.edits.get(handle) or [self[handle]], old, new))

    def prepend(self, operator: Operator) -> None:
        """Put an operator without inputs before all rows, after those that were put there already."""
        self.prologue.append(operator)
        for name in operator.outputs:
            self._producer[name] = self._first - 1

    def fresh_operand(self, hint: str) -> str:
        """A name that no operand has and that has not been given out before."""
        name = hint
        while name in self._producer or name in self._given_out:
            self._number += 1
            name = f"{hint}_{self._number}"
        self._given_out.add(name)
        return name

    def fresh_name(self, hint: str) -> str:
        """A name that no operator has."""
        if self._names is None:
            self._names = {row[1] for row in self._rows[self._first :] if row}
            self._names.update(op.name for edit in self.edits.values() for op in edit)
        name = hint
        while name in self._names:
            self._number += 1
            name = f"{hint}_{self._number}"
        self._names.add(name)
        return name

    def _remove_user(self, operand: str, handle: int) -> None:
        more = self._more_users.get(operand)
        if self._first_user.get(operand) == handle:
            if more:
                self._first_user[operand] = more.pop(0)
            else:
                del self._first_user[operand]
        elif more and handle in more:
            more.remove(handle)
        if more is not None and not more:
            del self._more_users[operand]


def _substitute(operators: Sequence[Operator], old: Operator, new: Sequence[Operator]) -> list[Operator]:
    at = next(index for index, operator in enumerate(operators) if operator is old)
    return [*operators[:at], *new, *operators[at + 1 :]]


def _count(word: str) -> int:
    if len(word) > 9 or not word.isascii() or not word.isdigit():
        raise ValueError(word)
    return int(word)
