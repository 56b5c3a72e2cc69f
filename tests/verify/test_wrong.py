"""Conversions that are wrong though no one has altered them: the operator is located, with a cause."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.verify.conftest import Verify

Put = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _torch() -> None:
    pytest.importorskip("torch", reason="the reference runs in PyTorch")


def find(report: dict[str, Any], form: str) -> dict[str, Any]:
    forms: list[dict[str, Any]] = report["conversions"][0]["forms"]
    return next(one for one in forms if one["form"] == form)


def is_power_of_negatives_wrong() -> bool:
    """ncnn asked directly; it depends on the processor's vectors."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    assert net.load_param_mem("7767517\n2 2\nInput i 0 1 a\nBinaryOp p 1 1 a b 0=6 1=1 2=3.0\n") == 0
    with net.create_extractor() as extractor:
        extractor.input("a", ncnn.Mat(np.full(192, -2.0, np.float32)).clone())
        return not np.allclose(np.array(extractor.extract("b")[1]), -8.0)


def test_a_power_of_negative_numbers(put: Put, verify: Verify) -> None:
    code, report, err = verify("--bisect", put("wrong/cubic"))
    form = find(report, "ncnn")
    if not is_power_of_negatives_wrong():
        assert code == 0, err
        return
    found = form["divergence"]
    assert (code, found["operator"], found["type"]) == (1, "pow_0", "BinaryOp")
    names = [(Path(place["path"]).name, place["line"]) for place in found["places"]]
    assert names == [("model_pnnx.py", 45), ("model.pnnx.param", 5), ("model.ncnn.param", 9)]
    assert "torch.pow(" in found["places"][0]["text"]
    assert any("pow of a negative base" in cause for cause in found["causes"])


def test_a_cache_without_elements(put: Put, verify: Verify) -> None:
    # ncnn goes on with memory that no one has set: what it gives differs from run to run, and it may die.
    code, report, _ = verify("--bisect", put("wrong/emptycache"))
    found = find(report, "ncnn")["divergence"]
    assert code in (1, 2)
    assert (found["operator"], found["type"]) == ("cat_0", "Concat")
    assert any("without elements" in cause for cause in found["causes"])


def test_a_function_in_place_of_its_approximation(put: Put, verify: Verify) -> None:
    code, report, _ = verify("--bisect", put("wrong/newgelu"))
    found = find(report, "python")["divergence"]
    assert (code, found["type"]) == (1, "gelu")
    assert "F.gelu(" in found["places"][0]["text"]
    assert any("only approximates" in cause for cause in found["causes"])
    assert find(report, "ncnn")["state"] == "agrees"
