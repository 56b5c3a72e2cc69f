"""The runtimes of the numeric tests, for the networks of this folder."""

from __future__ import annotations

from tests.numeric.conftest import run_ncnn

__all__ = ["run_ncnn"]
