"""A copy of a stored conversion, and the command on it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pnnxfix.cli.main import main
from tests.helpers.json_schema import validate

STORED = Path(__file__).resolve().parents[2] / "fixtures" / "verify"
Verify = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str], Path]:
    def copy(network: str) -> Path:
        return Path(shutil.copytree(STORED / network, tmp_path / network))

    return copy


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str]) -> Verify:
    """Runs `pnnxfix verify --output-format json`; gives exit code, report, stderr.

    Each report is held against its schema.
    """

    def run(*argv: str | Path) -> tuple[int, dict[str, Any], str]:
        capsys.readouterr()
        code = main(["verify", "--output-format", "json", "--draws", "1", *map(str, argv)])
        out, err = capsys.readouterr()
        report = json.loads(out) if out else {}
        if report:
            validate(report, "verify.md")
            assert report["exit_code"] == code
        return code, report, err

    return run
