"""What `_ncnn.py` says about the inputs and outputs of a network."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnnxfix.codecs.ncnn_script import NO_BATCH, NcnnScript, ScriptInput, read_ncnn_script
from pnnxfix.codecs.param import parse_param

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"

OLD = """    in0 = torch.rand(1, 3, 8, 8, dtype=torch.float)
    in1 = torch.randint(10, (1, 5), dtype=torch.long)
            ex.input("in0", ncnn.Mat(in0.squeeze(0).numpy()).clone())
            ex.input("in1", ncnn.Mat(in1.numpy()).clone())
            _, out0 = ex.extract("out0")
            out.append(torch.from_numpy(np.array(out0)).unsqueeze(0))
            out.append(torch.from_numpy(np.array(out1)))
"""
NEW = """    in0 = torch.rand(1, 3, 8, 8, dtype=torch.float)
            ex.input("in0", ncnn.Mat(in0.numpy(), batch_index=0).clone())
            out.append(torch.from_numpy(out0.numpy(batch_index=0)))
            out.append(torch.from_numpy(out1.numpy(batch_index=233)))
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_both_forms(end: str) -> None:
    image = ScriptInput((1, 3, 8, 8), "float", 0)
    assert read_ncnn_script(NEW.replace("\n", end)) == NcnnScript(
        {"in0": image}, {"out0": 0, "out1": NO_BATCH}, has_members=True
    )
    old = read_ncnn_script(OLD.replace("\n", end))
    assert old.inputs["in0"] == image
    assert old.inputs["in1"] == ScriptInput((1, 5), "long", NO_BATCH)
    assert old.outputs == {"out0": 0, "out1": NO_BATCH}
    assert not old.has_members


@pytest.mark.parametrize(
    "path", sorted(FIXTURES.rglob("*_ncnn.py")), ids=lambda p: str(p.relative_to(FIXTURES))
)
def test_fixture_names_the_inputs_of_its_graph(path: Path) -> None:
    script = read_ncnn_script(path.read_text())
    param = path.with_name(path.name.replace("_ncnn.py", ".ncnn.param"))
    rows = parse_param(param.read_bytes(), str(param)).rows()
    fed = {row[4] for _, row in rows if row[0] == "Input" and row[4].startswith("in")}
    assert set(script.inputs) == fed
    assert script.outputs
    assert all(given.shape and given.batch_axis in (0, 1, NO_BATCH) for given in script.inputs.values())


@given(st.text('in0=torch.rand(,)\u00b2\u0663squeez ex."\n#', max_size=200))
def test_any_text_is_read(text: str) -> None:
    read_ncnn_script(text)
    read_ncnn_script(OLD + text + NEW)


def test_odd_digits_are_no_sizes() -> None:
    script = read_ncnn_script(NEW.replace("3,", "\u00b2,").replace("8, 8", "99999999999999999999, 8"))
    assert script.inputs["in0"].shape == (1, 8)


@pytest.mark.parametrize(
    "text",
    [
        "\n" * 500000,
        " " * 500000,
        'ex.input("a", ncnn.Mat(b' * 50000,
        "x = torch.rand(" + ")" * 200000 + "x",
        "out.append(torch.from_numpy(" * 50000,
        "a = torch.rand(" * 50000,
    ],
    ids=range(6),
)
def test_long_texts_cost_their_length(text: str) -> None:
    start = time.monotonic()
    assert read_ncnn_script(text) == NcnnScript({}, {})
    assert time.monotonic() - start < 5  # quadratic ones take minutes
