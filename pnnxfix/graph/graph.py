"""Operators and operands of one graph, either of pnnx or of ncnn.

A graph is edited by the row: an operator becomes an object only when somebody asks for it. Nothing is
sorted, renamed or cleaned up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, KeysView, Sequence
from functools import cached_property
from itertools import chain, islice
from typing import NamedTuple

from pnnxfix.graph.index import Index, Row


class Operator(NamedTuple):
    """One row: an operator of pnnx or a layer of ncnn.

    `rest` are its words after the operands: parameters, attributes, argument names, shapes.
    Thousands are made at times, and a frozen dataclass takes four times as long to make.
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
    """The rows of one graph, and who makes and who reads each operand.

    Handles are the places of the rows' lines and stay valid while the graph is edited. Faults that the rows
    have among themselves are kept for whoever reports them: `duplicates` are (operand, row) of a
    second producer, `early` of a reader that stands before any producer. `unread` are outputs of
    Splits that are to go (`pnnxfix.graph.splits`).
    """

    def __init__(self, lines: Sequence[str], first: int = 0) -> None:
        """Index `lines[first:]`; cost is linear in the lines. Raises MalformedRow."""
        self._lines = lines
        self._first = first
        self._index = Index(lines, first)
        # What edits have changed in the index: operands by name, None for one that nobody makes any more.
        self._producer: dict[str, int | None] = {}
        self._users: dict[str, list[int]] = {}
        self._original: dict[int, Operator] = {}
        self._latest: dict[int, Operator] = {}
        self._names: set[str] | None = None
        self._given_out: set[str] = set()
        self._number = 0
        self.edits: dict[int, list[Operator]] = {}
        self.prologue: list[Operator] = []
        self.unread: dict[str, None] = {}
        self.duplicates = self._index.duplicates
        self.early = self._index.early

    # reading

    def __iter__(self) -> Iterator[int]:
        """The handles of the rows as they were read, removed ones left out."""
        for index, line in enumerate(islice(self._lines, self._first, None), self._first):
            if line.strip() and self.edits.get(index) != []:
                yield index

    @property
    def types(self) -> KeysView[str]:
        """The types of the rows as they were read, in the order in which they first come."""
        return self._index.by_type.keys()

    def of_types(self, types: Iterable[str]) -> list[int]:
        """The handles of the rows that were read with one of the types, removed ones left out."""
        found = [handle for kind in types for handle in self._index.by_type.get(kind, ())]
        return sorted(handle for handle in found if self.edits.get(handle) != [])

    def type_and_name(self, handle: int) -> tuple[str, str]:
        """Of a row as it was read; cheaper than its operator."""
        kind, name, _ = self._lines[handle].split(None, 2)
        return kind, name

    @cached_property
    def row_count(self) -> int:
        """How many rows there were before any edit."""
        return sum(map(len, self._index.by_type.values()))

    def __contains__(self, handle: int) -> bool:
        """Whether a handle is of a row; operators of the prologue have none."""
        return handle >= self._first

    def __getitem__(self, handle: int) -> Operator:
        """The operator of a row: its last one where an edit made several of it."""
        operator = self._latest.get(handle)
        return self.original(handle) if operator is None else operator

    def is_removed(self, handle: int) -> bool:
        return self.edits.get(handle) == []

    def producer(self, operand: str) -> int | None:
        """The handle of the row that makes an operand."""
        changed = self._producer
        return changed[operand] if operand in changed else self._index.producer.get(operand)

    def maker(self, operand: str) -> Operator | None:
        """The operator that makes an operand, which an edit may have put before its row's last."""
        handle = self.producer(operand)
        if handle is None:
            return None
        if handle < self._first:
            return next(op for op in self.prologue if operand in op.outputs)
        edited = self.edits.get(handle, ())
        if len(edited) > 1:
            return next((op for op in edited if operand in op.outputs), edited[-1])
        return self[handle]

    def users(self, operand: str) -> list[int]:
        """The handles of the rows that read an operand, once for each time they do."""
        if operand in self._users:
            return list(self._users[operand])
        return self._index.users(operand)

    def is_read(self, operand: str) -> bool:
        """Whether a row reads an operand; cheaper than its users."""
        users = self._users.get(operand)
        return self._index.is_read(operand) if users is None else bool(users)

    @property
    def shared(self) -> dict[str, list[int]]:
        """Operands that are read more than once, with the handles of the later readers."""
        found = {name: later for name, later in self._index.shared.items() if name not in self._users}
        return found | {name: users[1:] for name, users in self._users.items() if len(users) > 1}

    @property
    def operand_count(self) -> int:
        """How many operands have a producer."""
        before = sum(name in self._index.producer for name in self._producer)
        after = sum(handle is not None for handle in self._producer.values())
        return len(self._index.producer) + after - before

    def original(self, handle: int) -> Operator:
        """The operator of a row as it was read."""
        operator = self._original.get(handle)
        if operator is None:
            operator = self._original[handle] = Operator.from_row(self._lines[handle].split())
            self._latest.setdefault(handle, operator)
        return operator

    # editing

    def replace(self, handle: int, *operators: Operator) -> None:
        """Put operators in the place of a row; none removes it. Cost: the operands touched.

        The index follows. What the old operators made and nobody makes any more must have no
        reader left when all edits are done: `faults` of the pipeline's check would find it.
        """
        before = self.edits.get(handle) or (self[handle],)
        gone = [name for old in before for name in old.inputs]
        for new in operators:
            for name in new.inputs:
                if name in gone:
                    gone.remove(name)
                else:
                    self._own_users(name).append(handle)
        for name in gone:
            users = self._own_users(name)
            if handle in users:
                users.remove(handle)
        made = [name for new in operators for name in new.outputs]
        for old in before:
            for name in old.outputs:
                if name not in made and self.producer(name) == handle:
                    self._producer[name] = None
        for name in made:
            self._producer[name] = handle
        if self._names is not None:
            self._names.difference_update([old.name for old in before])
            self._names.update([new.name for new in operators])
        self.edits[handle] = list(operators)
        if operators:
            self._latest[handle] = operators[-1]
        else:
            self._latest.pop(handle, None)

    def replace_operator(self, old: Operator, *new: Operator) -> None:
        """Put operators in the place of one, which is still in the graph and has an output."""
        handle = self.producer(old.outputs[0])
        assert handle is not None
        if handle < self._first:
            raise ValueError(f"{old.name} was put before all rows, where it stays")
        edited = self.edits.get(handle, ())
        self.replace(handle, *(_substitute(edited, old, new) if len(edited) > 1 else new))

    def prepend(self, operator: Operator) -> None:
        """Put an operator without inputs before all rows, after those that were put there already."""
        self.prologue.append(operator)
        for name in operator.outputs:
            self._producer[name] = self._first - 1

    def fresh_operand(self, hint: str) -> str:
        """A name that no operand has and that has not been given out before."""
        name = hint
        while self.producer(name) is not None or name in self._given_out:
            self._number += 1
            name = f"{hint}_{self._number}"
        self._given_out.add(name)
        return name

    def fresh_name(self, hint: str) -> str:
        """A name that no operator has."""
        if self._names is None:
            rows = chain.from_iterable(self._index.by_type.values())
            self._names = {self.type_and_name(handle)[1] for handle in rows}
            self._names.update(op.name for edit in self.edits.values() for op in edit)
        name = hint
        while name in self._names:
            self._number += 1
            name = f"{hint}_{self._number}"
        self._names.add(name)
        return name

    def _own_users(self, operand: str) -> list[int]:
        """The list of an operand's users that edits change."""
        users = self._users.get(operand)
        if users is None:
            users = self._users[operand] = self._index.users(operand)
        return users


def _substitute(operators: Sequence[Operator], old: Operator, new: Sequence[Operator]) -> list[Operator]:
    at = next(index for index, operator in enumerate(operators) if operator is old)
    return [*operators[:at], *new, *operators[at + 1 :]]
