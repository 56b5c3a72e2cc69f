"""The real ncnn loads every repaired graph with its old weights and gives PyTorch's numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.child import Child, ChildFailed
from tests.helpers.conversions import RUNNABLE, Stored, find_stored, repair
from tests.helpers.ncnn_releases import RELEASES, WHY_NOT
from tests.helpers.proof import prove_ncnn
from tests.numeric.conftest import Run, make_runner

# Five axes of which none is a batch: ncnn's blobs have four.
TOO_MANY_AXES = "rank-5-no-batch"
FITTING = [stored for stored in RUNNABLE if stored.case.id != TOO_MANY_AXES]


@pytest.mark.parametrize("stored", FITTING, ids=lambda stored: stored.id)
def test_repaired_graph_gives_the_numbers_of_pytorch(stored: Stored, base: Path, run_ncnn: Run) -> None:
    repaired = repair(stored, base)
    prove_ncnn(stored, run_ncnn(repaired.folder, stored.stem))


def test_graph_that_ncnn_cannot_be_fed_is_repaired_and_loads(base: Path, run_ncnn: Run) -> None:
    repaired = repair(find_stored("20261020", TOO_MANY_AXES), base)
    assert [finding.code for finding in repaired.report.findings] == ["PNX152"]
    with pytest.raises(ChildFailed, match="only dims <=4 support"):
        run_ncnn(repaired.folder, "model")


@pytest.fixture(scope="module", params=RELEASES or [None], ids=lambda wheel: wheel.name if wheel else "none")
def run_wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    if request.param is None:
        pytest.skip(WHY_NOT)
    child = Child("run_ncnn.py", request.param)
    yield make_runner(child, tmp_path_factory.mktemp("wheel") / "outputs.npz")
    child.close()


@pytest.mark.parametrize("stored", FITTING if RELEASES else FITTING[:1], ids=lambda stored: stored.id)
def test_other_releases_of_ncnn_give_the_same_numbers(stored: Stored, base: Path, run_wheel: Run) -> None:
    repaired = repair(stored, base)
    prove_ncnn(stored, run_wheel(repaired.folder, stored.stem))
