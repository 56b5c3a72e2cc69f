"""What the tests of the repairs share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the repaired copies lie that tests share."""
    return tmp_path_factory.getbasetemp() / "repaired"
