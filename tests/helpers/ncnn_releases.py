"""Other releases of ncnn than the installed one: unpacked wheels, which `make test` fetches."""

from __future__ import annotations

import os
from pathlib import Path

_FOLDER = Path(os.environ.get("PNNXFIX_NCNN_RELEASES", "") or "/nonexistent")

RELEASES = sorted(path for path in _FOLDER.glob("*") if path.is_dir())
"""One folder each, called after its release."""

WHY_NOT = "PNNXFIX_NCNN_RELEASES names no folder with ncnn releases in it; `make test` fetches some"
