"""Settings for all tests."""

from __future__ import annotations

from hypothesis import settings

# A time limit for one example fails where the machine is busy, and says nothing about the code.
settings.register_profile("pnnxfix", deadline=None)
settings.load_profile("pnnxfix")
