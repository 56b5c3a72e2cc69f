"""The repaired graphs are those that pnnx makes of the same network when it is written for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.conversions import LEAKED, Stored, repair
from tests.helpers.graphs import assert_same_graph

# The twins that old releases convert wrongly are left out by `twin_from` of their cases.
WITH_TWIN = [stored for stored in LEAKED if stored.release in stored.case.twin_releases]

# Where torch.clamp itself leaked, .pnnx.param is right as it is, and the twin is torch.maximum.
WITH_PNNX_TWIN = [stored for stored in WITH_TWIN if "aten::" in stored.text(".pnnx.param")]


@pytest.mark.parametrize("stored", WITH_TWIN, ids=lambda stored: stored.id)
def test_ncnn_graph_is_the_one_of_the_twin(stored: Stored, base: Path) -> None:
    native = (stored.native / f"{stored.stem}.ncnn.param").read_text()
    assert_same_graph(repair(stored, base).text(".ncnn.param"), native, "ncnn")


@pytest.mark.parametrize("stored", WITH_PNNX_TWIN, ids=lambda stored: stored.id)
def test_pnnx_graph_is_the_one_of_the_twin(stored: Stored, base: Path) -> None:
    native = (stored.native / f"{stored.stem}.pnnx.param").read_text()
    assert_same_graph(repair(stored, base).text(".pnnx.param"), native, "pnnx")
