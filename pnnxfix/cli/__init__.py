"""The command line: arguments and settings in, text, formats and an exit code out."""

from __future__ import annotations
