"""`python -m pnnxfix`, the same as the command `pnnxfix`."""

from __future__ import annotations

import sys

from pnnxfix.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
