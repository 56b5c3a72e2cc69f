"""`python -m pnnxfix`, the same as the command `pnnxfix`."""

from __future__ import annotations

from pnnxfix.cli.main import run

if __name__ == "__main__":
    run()
