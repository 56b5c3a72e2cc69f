"""Each row of the table of rewrites computes what PyTorch computes, through the real program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pnnxfix.conversion import prepare
from pnnxfix.conversion.rewrites import RENAMES, REWRITES, Rewrite
from pnnxfix.verify.process import Child, Limits

torch = pytest.importorskip("torch", reason="each rewrite is compared with PyTorch")

SHAPES = {"x": (2, 3, 4), "y": (2, 3, 4), "z": (2, 3, 4), "m": (4, 5), "v": (4,), "u": (5,)}
SAME_NAME = {"aten::clamp", "aten::div", "aten::round"}
"""Another overload of the operator stands in."""
RENAMED = {
    "aten::unsafe_chunk": "torch.unsafe_chunk(x, 2, 2)[1]",
    "aten::unsafe_split": "torch.unsafe_split(x, 2, 2)[1]",
    "aten::unbind_copy": "torch.unbind_copy(x, 1)[1]",
    "aten::split_with_sizes_copy": "torch.split_with_sizes_copy(x, [1, 3], 2)[1]",
}


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    started = Child(str(prepare.PROGRAM), Limits(seconds=60))
    yield started
    started.close()


def build(expression: str) -> tuple[Any, list[Any]]:
    """A traced network of an expression, and its inputs: normal numbers, with ties and zeros."""
    names = [name for name in SHAPES if name in compile(expression, "", "eval").co_names]
    scope = {"torch": torch, "F": torch.nn.functional}
    code = compile(f"lambda {', '.join(names)}: {expression}", "<example>", "eval")
    function = eval(code, scope)

    class Network(torch.nn.Module):
        def forward(self, *inputs: Any) -> Any:
            return function(*(one * 1.0 for one in inputs))

    generator = torch.Generator().manual_seed(3)
    inputs = [torch.randn(SHAPES[name], generator=generator) for name in names]
    inputs[0].view(-1)[0] = 0.0
    return torch.jit.trace(Network().eval(), inputs, check_trace=False), inputs


def list_kinds(path: Path) -> set[str]:
    graph = torch.jit.load(path).graph
    return {node.kind() for node in graph.nodes()}


def name_row(row: Rewrite) -> str:
    return row.example


@pytest.mark.parametrize("row", REWRITES, ids=name_row)
def test_a_rewritten_model_computes_the_same(row: Rewrite, child: Child, tmp_path: Path) -> None:
    model, inputs = build(row.example)
    model.save(tmp_path / "a.pt")
    assert row.operator in list_kinds(tmp_path / "a.pt"), "the example does not call the operator"
    answer = child.ask("prepare", path=str(tmp_path / "a.pt"), target=str(tmp_path / "b.pt"))
    assert row.operator in answer["rewritten"]
    prepared = torch.jit.load(tmp_path / "b.pt")
    assert row.operator not in list_kinds(tmp_path / "b.pt") or row.operator in SAME_NAME
    want, got = model(*inputs), prepared(*inputs)
    for one, other in zip(*(([v] if torch.is_tensor(v) else list(v)) for v in (want, got)), strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("operator", sorted(RENAMED))
def test_a_renamed_operator_computes_the_same(operator: str, child: Child, tmp_path: Path) -> None:
    model, inputs = build(RENAMED[operator])
    model.save(tmp_path / "a.pt")
    answer = child.ask("prepare", path=str(tmp_path / "a.pt"), target=str(tmp_path / "b.pt"))
    assert answer["rewritten"] == {operator: 1}
    assert RENAMES[operator] in list_kinds(tmp_path / "b.pt")
    assert torch.equal(torch.jit.load(tmp_path / "b.pt")(*inputs), model(*inputs))


NOTHING_CHANGES = {
    "complex-numbers": "torch.real(torch.fft.fft(x))",
    "view-written-in-place": "(x, x[0].clamp_min_(0.0))[0]",
    "bound-below-and-above": "torch.clamp(x, 0.1, 0.5)",
    "variance-of-a-sample": "torch.var(x, (1, 2))",
    "arithmetic-of-sizes": "x[:, :, : (x.shape[2] + 1) % 3 + 1]",
    "no-operator-of-the-table": "torch.relu(x)",
}


@pytest.mark.parametrize("expression", NOTHING_CHANGES.values(), ids=NOTHING_CHANGES)
def test_what_is_not_certain_stays(expression: str, child: Child, tmp_path: Path) -> None:
    model, _ = build(expression)
    model.save(tmp_path / "a.pt")
    answer = child.ask("prepare", path=str(tmp_path / "a.pt"), target=str(tmp_path / "b.pt"))
    assert answer["rewritten"] == {}
    assert not (tmp_path / "b.pt").exists()


ZEROED = {
    "part": ("y = x.clone()\ny[1:2].zero_()\nreturn y * 2", True),
    "two-parts": ("y = x.clone()\ny[0:1].zero_()\nz = y + 1\ny[::2].zero_()\nreturn y * z", True),
    "of-what-is-given": ("x[1:2].zero_()\nreturn x * 2", False),
    "beside-a-view": ("y = x.clone()\nz = y.view(-1)\ny[1:2].zero_()\nreturn y.sum() + z", False),
    "beside-a-list": ("y = x.clone()\nz = [y, x]\ny[1:2].zero_()\nreturn torch.stack(z)", True),
    "part-of-a-part": ("y = x.clone()\ny[:, 1:2].zero_()\nreturn y * 2", False),
    "read-itself": ("y = x.clone()\nz = y[1:2].zero_()\nreturn y + z", False),
}


@pytest.mark.parametrize(("body", "is_rewritten"), ZEROED.values(), ids=ZEROED)
def test_a_part_set_to_zero(body: str, is_rewritten: bool, child: Child, tmp_path: Path) -> None:
    scope: dict[str, Any] = {"torch": torch}
    lines = "\n    ".join(body.split("\n"))
    exec(f"def f(module, x):\n    {lines}", scope)
    network = type("Network", (torch.nn.Module,), {"forward": scope["f"]})()
    torch.jit.trace(network, torch.randn(2, 3, 4), check_trace=False).save(tmp_path / "a.pt")
    answer = child.ask("prepare", path=str(tmp_path / "a.pt"), target=str(tmp_path / "b.pt"))
    assert bool(answer["rewritten"]) == is_rewritten
    if is_rewritten:
        assert "aten::zero_" not in list_kinds(tmp_path / "b.pt")
        x = torch.randn(2, 3, 4)
        assert torch.equal(torch.jit.load(tmp_path / "b.pt")(x.clone()), network(x.clone()))


def test_the_original_file_stays_and_submodules_are_reached(child: Child, tmp_path: Path) -> None:
    class Inner(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return (x * 2.0).clamp_min_(0.1)

    model = torch.jit.trace(torch.nn.Sequential(torch.nn.Linear(4, 4), Inner(), Inner()), torch.rand(2, 4))
    model.save(tmp_path / "a.pt")
    before = (tmp_path / "a.pt").read_bytes()
    answer = child.ask("prepare", path=str(tmp_path / "a.pt"), target=str(tmp_path / "b.pt"))
    assert (tmp_path / "a.pt").read_bytes() == before
    assert sum(answer["rewritten"].values()) >= 1
    prepared = torch.jit.load(tmp_path / "b.pt")
    x = torch.randn(2, 4)
    torch.testing.assert_close(prepared(x), model(x))
    assert "clamp_min" not in prepared.inlined_graph.__str__()
