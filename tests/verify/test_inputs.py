"""What the files say about the inputs, and what is fed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pnnxfix.graph.graph import Graph
from pnnxfix.verify.draws import make_draws
from pnnxfix.verify.inputs import Input, find_ranges, read_graph
from tests.verify.conftest import Verify

Put = Callable[[str], Path]


def parse(text: str) -> Graph:
    return Graph(text.strip().split("\n"))


TABLES = """
pnnx.Input a 0 1 0 #0=(1,6)i64
pnnx.Input b 0 1 1 #1=(1,6)i64
pnnx.Input c 0 1 2 #2=(1,6)i64
torch.ne ne 1 1 0 3 other=1 $input=0
torch.unsqueeze u 1 1 0 4 dim=0 $input=0
nn.Embedding words 1 1 4 5 num_embeddings=50
nn.Embedding types 1 1 1 6 num_embeddings=2
pnnx.Expression e 1 1 2 7 expr=add(@0,1)
nn.Embedding more 1 1 7 8 num_embeddings=30
"""


def test_integers_stay_below_the_table_that_they_are_looked_up_in() -> None:
    # What is added to an index may bring it out of range: the smallest table is safe.
    assert find_ranges([parse(TABLES)]) == {"in0": 50, "in1": 2, "in2": 2}


def test_the_table_may_stand_in_ncnn_alone(put: Put) -> None:
    text = (put("words") / "model.ncnn.param").read_text()
    assert find_ranges([parse("pnnx.Input a 0 1 0"), parse(text.split("\n", 2)[2])]) == {"in0": 20}
    assert find_ranges([parse("Input a 0 1 in0")]) == {}


def test_every_index_of_a_range_is_drawn_and_none_beyond() -> None:
    draws = make_draws([Input("in0", (1, 400), "int64", 0, below=17)], 1)
    assert [draw.name for draw in draws] == ["script", "random 1", "zeros"]
    assert set(np.unique(draws[1].arrays[0])) == set(range(17))
    assert draws[0].arrays[0].max() == 9  # as in the generated scripts


def test_an_axis_of_any_size() -> None:
    one = read_graph(parse("pnnx.Input a 0 1 0 #0=(1,3,?,?)f32"), {})[0]
    assert one.described == "(1, 3, ?, ?)"
    assert one.accepts((1, 3, 5, 70))
    assert not one.accepts((1, 4, 5, 70))
    assert not one.accepts((3, 5, 70))


def test_a_model_that_was_converted_with_two_shapes(put: Put, verify: Verify) -> None:
    folder = put("decoder")
    param = folder / "model.pnnx.param"
    param.write_text(param.read_text().replace("#0=(1,4,5,5)", "#0=(1,4,?,?)"))
    for size, code in ((4, 0), (3, 2)):
        np.save(folder / "x.npy", np.zeros((1, size, 5, 5), np.float32))
        found, _, err = verify("--outputs", folder / "io.npz", "--input", f"in0={folder / 'x.npy'}", folder)
        # Not what the stored outputs belong to, so it is compared and differs.
        assert (found, "shape (1, 4, ?, ?)" in err) == (1 if code == 0 else 2, code == 2)


@pytest.mark.parametrize("network", ["residual", "words", "plain"])
def test_two_files_and_arrays_are_enough(put: Put, verify: Verify, network: str) -> None:
    folder = put(network)
    for path in folder.iterdir():
        if path.name not in ("model.ncnn.param", "model.ncnn.bin", "io.npz"):
            path.unlink()
    code, report, err = verify("--outputs", folder / "io.npz", folder)
    assert code == 0, err
    assert report["conversions"][0]["forms"][0]["measures"][0]["input"] == "stored"
    assert "an axis of size 1 in front is taken for the batch" in err


def test_without_shapes_the_inputs_have_to_be_given(put: Put, verify: Verify) -> None:
    pytest.importorskip("torch", reason="the reference runs in PyTorch")
    folder = put("residual")
    for name in ("model.pnnx.param", "model_pnnx.py", "model_ncnn.py"):
        (folder / name).unlink()
    code, _, err = verify(folder)
    assert code == 2
    assert "--input in0=x.npy" in err
    np.save(folder / "x.npy", np.load(folder / "io.npz")["in0"])
    assert verify("--input", f"in0={folder / 'x.npy'}", folder)[0] == 0
