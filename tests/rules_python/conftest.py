"""The runtime and the folder of repaired copies that the numeric tests use."""

from __future__ import annotations

from tests.numeric.conftest import base, run_torch

__all__ = ["base", "run_torch"]
