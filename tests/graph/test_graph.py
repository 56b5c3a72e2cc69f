"""The index of a graph after any edits is that of the rows which the edits leave."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pnnxfix.graph.blobs import NO_BATCH, UNKNOWN_BLOB, Blob, BlobFacts
from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.index import MalformedRow
from pnnxfix.graph.splits import EXPRESSION, SPLIT, drop_unread, is_network_output, origin, trim_splits

Row = list[str]


def parse(text: str) -> Graph:
    return Graph(text.strip().split("\n"))


def make(rows: list[Row]) -> Graph:
    return Graph([" ".join(row) for row in rows])


def resulting_rows(graph: Graph, rows: list[Row]) -> list[Row]:
    result = []
    for at, row in enumerate(rows):
        result += [op.to_row() for op in graph.edits[at]] if at in graph.edits else [row]
    return result


def assert_index_is_fresh(graph: Graph, rows: list[Row]) -> None:
    """Handles of the fresh graph are other ones, so operators are compared by their names."""
    result = resulting_rows(graph, rows)
    fresh = make(result)
    names = {name for row in [*rows, *result] if row for name in row[4:]} | {"nobody"}
    for name in names:
        maker, expected = graph.maker(name), fresh.maker(name)
        assert (maker is None) == (expected is None), name
        if maker is not None and expected is not None:
            assert maker == expected, name
            handle = graph.producer(name)
            assert handle is not None
            assert not graph.is_removed(handle)
        assert readers(graph, name) == readers(fresh, name), name
        assert len(graph.users(name)) == len(fresh.users(name)), name
    assert set(graph.shared) == set(fresh.shared)
    assert graph.operand_count == fresh.operand_count
    kept = [at for at in range(len(rows)) if rows[at] and graph.edits.get(at) != []]
    assert list(graph) == kept
    assert graph.fresh_operand("b1") not in {
        name for row in result if row for name in Operator.from_row(row).outputs
    }
    assert graph.fresh_name("n1") not in {row[1] for row in result if row}


def readers(graph: Graph, operand: str) -> Counter[str]:
    found = (op for at in set(graph.users(operand)) for op in graph.edits.get(at) or [graph[at]])
    return Counter({op.name: op.inputs.count(operand) for op in found if operand in op.inputs})


@st.composite
def graphs(draw: st.DrawFn) -> list[Row]:
    """Rows in order, each operand made once; blank lines between them."""
    rows: list[Row] = []
    made: list[str] = []
    for at in range(draw(st.integers(0, 12))):
        inputs = draw(st.lists(st.sampled_from(made), max_size=3)) if made else []
        outputs = [f"b{len(made) + extra}" for extra in range(draw(st.integers(0, 3)))]
        rows.append(Operator("T", f"n{at}", tuple(inputs), tuple(outputs), ("0=1",)).to_row())
        made += outputs
        if draw(st.booleans()) and draw(st.booleans()):
            rows.append([])
    return rows


NAMES = st.sampled_from("abcdef")


@st.composite
def broken_graphs(draw: st.DrawFn) -> list[Row]:
    """Rows in any order that make and read anything; many of them have one input and one output."""
    rows: list[Row] = []
    for at in range(draw(st.integers(0, 8))):
        counts = draw(st.sampled_from([(1, 1), (1, 1), (1, 1), (0, 1), (2, 1), (1, 2), (3, 0)]))
        inputs, outputs = (draw(st.lists(NAMES, min_size=count, max_size=count)) for count in counts)
        if draw(st.booleans()) and rows and rows[-1]:
            inputs[:1] = rows[-1][-1:] if inputs else []
        rows.append(["T", f"n{at}", *map(str, counts), *inputs, *outputs])
        if draw(st.integers(0, 9)) == 0:
            rows.append([])
    return rows


@settings(max_examples=300)
@given(broken_graphs())
def test_index_is_what_one_finds_edge_by_edge(rows: list[Row]) -> None:
    producer: dict[str, int] = {}
    users: dict[str, list[int]] = {}
    shared: dict[str, list[int]] = {}
    duplicates, early = [], []
    for at, row in enumerate(rows):
        operator = Operator.from_row(row) if row else Operator("", "", (), ())
        for name in operator.inputs:
            if name not in producer:
                early.append((name, at))
            if name in users:
                shared.setdefault(name, []).append(at)
            users.setdefault(name, []).append(at)
        for name in operator.outputs:
            if name in producer:
                duplicates.append((name, at))
            producer.setdefault(name, at)
    graph = make(rows)
    assert graph.operand_count == len(producer)
    assert graph.row_count == sum(map(bool, rows))
    assert (graph.duplicates, graph.early) == (duplicates, early)
    assert list(graph.shared.items()) == list(shared.items())
    for name in "fedcba":
        assert graph.users(name) == users.get(name, [])
        assert graph.producer(name) == producer.get(name)
    again = make(rows)
    for handle in again:
        operator = again[handle]
        assert [again.producer(name) for name in operator.outputs] == [producer[n] for n in operator.outputs]
        assert [again.producer(name) for name in operator.inputs] == [
            producer.get(n) for n in operator.inputs
        ]


@settings(max_examples=150)
@given(graphs(), st.data())
def test_index_follows_any_edits(rows: list[Row], pick: st.DataObject) -> None:
    graph = make(rows)
    assert not graph.duplicates
    assert not graph.early
    handles = list(graph)
    fresh = 0
    for _ in range(pick.draw(st.integers(0, 6)) if handles else 0):
        handle = pick.draw(st.sampled_from(handles))
        if graph.is_removed(handle):
            continue
        old = graph.edits.get(handle) or [graph[handle]]
        wanted = [name for op in old for name in op.outputs]
        known = [name for row in rows if row for name in Operator.from_row(row).outputs]
        count = pick.draw(st.integers(0, 3))
        new = []
        for at in range(count):
            inputs = pick.draw(st.lists(st.sampled_from(known), max_size=3)) if known else []
            made = tuple(wanted) if at == count - 1 and pick.draw(st.booleans()) else (f"f{fresh}",)
            new.append(Operator("New", f"m{fresh}", tuple(inputs), made))
            fresh += 1
        graph.replace(handle, *new)
    assert_index_is_fresh(graph, rows)


@given(graphs(), st.data())
def test_faults_are_found(rows: list[Row], pick: st.DataObject) -> None:
    content = [row for row in rows if row]
    made = [(name, at) for at, row in enumerate(content) for name in Operator.from_row(row).outputs]
    if not made:
        return
    name, at = pick.draw(st.sampled_from(made))
    later = pick.draw(st.integers(at, len(content)))
    double = make([*content[: later + 1], ["T", "x", "0", "1", name], *content[later + 1 :]])
    assert [operand for operand, _ in double.duplicates] == [name]
    lost = make([*content[:at], *content[at + 1 :]])
    gone = set(Operator.from_row(content[at]).outputs)
    assert {operand for operand, _ in lost.early} == {
        operand for row in content for operand in Operator.from_row(row).inputs if operand in gone
    }
    assert all(lost.producer(operand) is None for operand in gone)


@pytest.mark.parametrize(
    "row",
    [
        "T",
        "T n",
        "T n 1",
        "T n 1 1 a",
        "T n -1 1 a",
        "T n x 1 a",
        "T n 1 1",
        "T n 0 2 a",
        "T n 9999999999 0 a",
        "T n 999999999 999999999 a",
        "T n ² 0 a",
        "T n 1.0 0 a",
        "T n +1 0 a",
        "T n 1_0 0 a",
    ],
)
def test_malformed_row_is_named(row: str) -> None:
    with pytest.raises(MalformedRow) as caught:
        parse(f"T m 0 1 a\n{row}")
    assert caught.value.index == 1


def test_a_row_that_reads_or_makes_an_operand_twice() -> None:
    graph = parse("T a 0 1 x\nT b 2 0 x x\nT c 0 2 y y")
    assert graph.users("x") == [1, 1]
    assert graph.shared == {"x": [1]}
    assert graph.duplicates == [("y", 2)]
    graph.replace(1)
    assert graph.users("x") == []
    assert graph.shared == {}


@pytest.mark.parametrize("counts", [(50_000, 0), (0, 50_000)], ids=["inputs", "outputs"])
def test_a_wide_row_costs_its_words(counts: tuple[int, int]) -> None:
    start = time.monotonic()
    make([["T", "wide", str(counts[0]), str(counts[1]), *(f"w{at}" for at in range(50_000))]])
    assert time.monotonic() - start < 5  # where each is compared with each, minutes


def test_the_last_parameter_of_a_key_counts() -> None:
    operator = Operator.from_row(["Clip", "c", "1", "1", "a", "b", "0=1.0", "10=5", "0=2.0"])
    assert operator.parameter("0") == "2.0"
    assert operator.parameter("1") is None
    assert operator.to_row() == ["Clip", "c", "1", "1", "a", "b", "0=1.0", "10=5", "0=2.0"]


# Splits and Expressions


def assert_ncnn_graph(graph: Graph, rows: list[Row]) -> list[str]:
    assert_index_is_fresh(graph, rows)
    return [" ".join(row) for row in resulting_rows(graph, rows)]


@pytest.mark.parametrize(
    ("text", "blob", "expected"),
    [
        ("pnnx.Expression e 0 1 1", "1", []),
        ("pnnx.Expression e 0 1 1\nReLU r 1 1 1 2", "1", None),
        ("pnnx.Expression e 0 1 out0", "out0", None),
        ("MemoryData m 0 1 1", "1", None),
        (
            "pnnx.Expression e 0 1 1\nSplit s 1 2 1 2 3\nReLU r 1 1 3 out0",
            "2",
            ["pnnx.Expression e 0 1 3", "ReLU r 1 1 3 out0"],
        ),
        (
            "pnnx.Expression e 0 1 1\nSplit s 1 3 1 2 3 4\nReLU r 2 1 3 4 out0",
            "2",
            ["pnnx.Expression e 0 1 1", "Split s 1 2 1 3 4", "ReLU r 2 1 3 4 out0"],
        ),
        ("pnnx.Expression e 0 1 1\nSplit s 1 1 1 2", "2", []),
        (
            "Input i 0 1 in0\nSplit s 1 2 in0 1 2\nReLU r 1 1 2 out0",
            "1",
            ["Input i 0 1 in0", "Split s 1 1 in0 2", "ReLU r 1 1 2 out0"],
        ),
        ("Input i 0 1 in0\nSplit s 1 2 in0 1 out0", "1", ["Input i 0 1 in0", "Split s 1 1 in0 out0"]),
        ("pnnx.Expression a 0 1 1\npnnx.Expression b 1 1 1 2", "2", []),
        ("Split s 0 1 1", "1", []),
        ("Split s 1 1 1 1", "1", None),
    ],
    ids=range(12),
)
def test_what_nobody_reads_is_dropped(text: str, blob: str, expected: list[str] | None) -> None:
    rows = [line.split() for line in text.split("\n")]
    graph = make(rows)
    drop_unread(graph, blob)
    trim_splits(graph)
    assert assert_ncnn_graph(graph, rows) == (text.split("\n") if expected is None else expected)


@given(st.integers(1, 6), st.data())
def test_a_constant_goes_with_its_last_reader(readers: int, pick: st.DataObject) -> None:
    copies = [f"c{at}" for at in range(readers)]
    rows = [["pnnx.Expression", "e", "0", "1", "c"], ["Split", "s", "1", str(readers), "c", *copies]]
    rows += [["aten::f", f"n{at}", "1", "1", copy, f"out{at}"] for at, copy in enumerate(copies)]
    graph = make(rows)
    order = pick.draw(st.permutations(range(readers)))
    for done, at in enumerate(order, 1):
        graph.replace(2 + at, Operator("ReLU", f"n{at}", (), (f"out{at}",)))
        drop_unread(graph, copies[at])
        trim_splits(graph)
        result = assert_ncnn_graph(graph, rows)
        left = [row.split() for row in result]
        assert any(row[0] == EXPRESSION for row in left) == (done < readers)
        assert any(row[0] == SPLIT for row in left) == (readers - done > 1)


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_constant_of_thousands_costs_each_once(kept: int) -> None:
    copies = [f"c{at}" for at in range(20_000)]
    readers = [["aten::f", f"n{copy}", "1", "1", copy, f"x{copy}"] for copy in copies]
    split = ["Split", "s", "1", str(len(copies)), "c", *copies]
    graph = make([["pnnx.Expression", "e", "0", "1", "c"], split, *readers])
    start = time.monotonic()
    for at, copy in enumerate(copies[kept:], 2 + kept):
        graph.replace(at, Operator("ReLU", f"n{copy}", (), (f"x{copy}",)))
        drop_unread(graph, copy)
    trim_splits(graph)
    assert time.monotonic() - start < 10  # where the Split is written anew for each, minutes
    assert graph.is_removed(1) == (kept < 2)
    assert graph.is_removed(0) == (kept == 0)
    assert [graph.maker(copy) is None for copy in copies] == [False] * kept + [True] * (len(copies) - kept)


def test_origin_passes_over_splits_and_ends_in_a_cycle() -> None:
    graph = parse(
        "Input i 0 1 a\nSplit s 1 2 a b c\nSplit t 1 1 c d\nSplit u 1 1 y x\nSplit v 1 1 x y\nSplit w 0 1 z"
    )
    assert origin(graph, "d") == "a"
    assert origin(graph, "a") == "a"
    assert origin(graph, "nobody") == "nobody"
    assert origin(graph, "x") in {"x", "y"}
    assert origin(graph, "z") == "z"


@pytest.mark.parametrize(
    ("name", "expected"), [("out0", True), ("out12", True), ("out", False), ("0", False), ("outer1", False)]
)
def test_network_output(name: str, expected: bool) -> None:
    assert is_network_output(name) == expected


# what is certain about blobs


def facts(text: str) -> BlobFacts:
    return BlobFacts(parse(text), lambda blob: Blob(batch_axis=0, rank=3, is_float=True))


@pytest.mark.parametrize(
    ("text", "blob", "expected"),
    [
        ("Input i 0 1 a", "a", Blob(0, 3, is_float=True)),
        ("Input i 0 1 a\nReLU r 1 1 a b\nSplit s 1 2 b c d", "d", Blob(0, 3, is_float=True)),
        ("Input i 0 1 a\nSlice s 1 2 a b c", "b", Blob(is_float=True)),
        ("Input i 0 1 a\naten::f s 1 1 a b", "b", UNKNOWN_BLOB),
        ("MemoryData m 0 1 a 0=5", "a", Blob(rank=1, dims=(5,))),
        ("MemoryData m 0 1 a 0=5 1=4 2=3", "a", Blob(rank=3, dims=(3, 4, 5))),
        ("MemoryData m 0 1 a 0=1", "a", Blob(rank=1, dims=(1,), is_single=True)),
        ("MemoryData m 0 1 a 0=\u00b2", "a", UNKNOWN_BLOB),
        ("MemoryData m 0 1 a 0=-5", "a", UNKNOWN_BLOB),
        ("MemoryData m 0 1 a", "a", UNKNOWN_BLOB),
        ("ReLU r 0 1 a", "a", UNKNOWN_BLOB),
        ("ReLU r 1 1 a a", "a", None),
        ("ReLU r 1 1 b a\nReLU s 1 1 a b", "a", None),
        ("Convolution c 1 1 nobody a", "a", Blob(0, 3, is_float=True)),
        ("Input i 0 1 a", "nobody", UNKNOWN_BLOB),
    ],
    ids=range(15),
)
def test_blob_facts(text: str, blob: str, expected: Blob | None) -> None:
    found = facts(text)[blob]
    if expected is None:  # a cycle: an answer, and no claim about its layout
        assert (found.batch_axis, found.rank, found.dims) == (None, None, None)
    else:
        assert found == expected


def test_a_long_chain_is_walked_without_recursion() -> None:
    rows = [["Input", "i", "0", "1", "b0"]]
    rows += [["ReLU", f"r{at}", "1", "1", f"b{at}", f"b{at + 1}"] for at in range(3_000)]
    found = BlobFacts(make(rows), lambda blob: Blob(batch_axis=NO_BATCH, rank=2))["b3000"]
    assert (found.batch_axis, found.rank, found.is_float) == (NO_BATCH, 2, True)
