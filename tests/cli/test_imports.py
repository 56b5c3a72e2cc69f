"""What a command loads: a hook runs at every commit, so a clean check must load next to nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
HEAVY = {"libcst", "numpy", "torch", "ncnn", "onnx", "difflib", "tomllib", "tomli", "json"}
HEAVY |= {"subprocess", "tempfile", "zipfile", "socket", "asyncio", "multiprocessing", "logging", "hashlib"}

SCRIPT = """
import sys
from pnnxfix.cli.main import main
code = main(sys.argv[1:])
print(code, *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def load(environment: dict[str, str], code: str, *argv: str, cwd: Path | None = None) -> list[str]:
    command = [sys.executable, "-c", code, *argv]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, check=True)
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize("folder", ["fixtures/20261020/normalize", "fixtures/native/20261020/conv2d"])
def test_a_clean_check_loads_nothing_heavy(environment: dict[str, str], folder: str) -> None:
    code, *modules = load(environment, SCRIPT, "check", str(CHECKOUT / folder))
    assert code == "0"
    assert HEAVY.isdisjoint(modules)
    assert {"click", "pnnxfix"} <= set(modules)


def test_a_report_in_text_loads_no_format(environment: dict[str, str]) -> None:
    code, *modules = load(environment, SCRIPT, "check", str(CHECKOUT / "fixtures/20261020/clamp-min-tenth"))
    assert code == "1"
    assert {"json", "difflib", "tomllib", "libcst", "ncnn", "numpy", "torch", "onnx"}.isdisjoint(modules)


def test_importing_the_package_loads_nothing(environment: dict[str, str]) -> None:
    modules = load(environment, "import sys, pnnxfix; print(*sys.modules)")
    assert {"click", "dataclasses", "inspect", "pathlib", "pnnxfix.report"}.isdisjoint(modules)
    assert "pnnxfix" in modules


@pytest.mark.parametrize("command", [(), ("check",), ("fix",), ("rule",), ("install-hook",), ("staged",)])
def test_every_help_opens_without_the_dependencies(
    environment: dict[str, str], command: tuple[str, ...]
) -> None:
    block = "".join(
        f"sys.modules[{name!r}] = None\n" for name in ("libcst", "ncnn", "numpy", "torch", "onnx")
    )
    code = f"import sys\n{block}from pnnxfix.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "--help"],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert done.stdout.startswith("Usage: pnnxfix")
