"""What the tests of the documentation share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def environment() -> dict[str, str]:
    """What a child process needs to find this checkout, installed or not."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
