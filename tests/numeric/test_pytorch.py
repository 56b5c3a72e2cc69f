"""The repaired Python imports, runs in PyTorch and gives the original network's numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from pnnxfix.options import Style
from tests.helpers.conversions import LEAKED, Stored, repair
from tests.helpers.proof import prove_torch
from tests.numeric.conftest import Run


@pytest.mark.parametrize("style", ["operator", "clamp"])
@pytest.mark.parametrize("stored", LEAKED, ids=lambda stored: stored.id)
def test_repaired_python_gives_the_numbers_of_the_network(
    stored: Stored, style: Style, base: Path, run_torch: Run
) -> None:
    repaired = repair(stored, base, style)
    prove_torch(stored, run_torch(repaired.folder, stored.stem))
