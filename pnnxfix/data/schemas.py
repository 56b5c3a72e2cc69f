"""PyTorch's operators with their schemas and public Python names, kept as a file beside this one."""

from __future__ import annotations

from functools import cache
from os.path import dirname, join

__all__ = ["find_operator", "operator_names", "schema_versions"]


def find_operator(name: str) -> tuple[str, ...]:
    """The overloads of an operator such as `aten::add`, empty where it is not known.

    Each is `overload(schema) -> returns`, then ` => ` and its public Python name if there is one,
    then ` # random` or ` # uninitialised` if its result is not the same every time.
    Cost: one search of the file, which is read once (0.3 MB).
    Source: `schemas.txt`, written by `scripts/make_schemas.py` from an installed PyTorch.
    """
    table = _table()
    start = table.find(f"\n{name}\t")
    if start == -1:
        return ()
    return tuple(table[start + 1 : table.index("\n", start + 1)].split("\t")[1:])


def operator_names() -> list[str]:
    """Every operator of the file, sorted."""
    return [line.partition("\t")[0] for line in _table().splitlines() if not line.startswith("#")]


def schema_versions() -> str:
    """What the file was made from: `torch 2.13.0, torchvision 0.29.1`."""
    return _table().split("\n", 2)[1].partition(" from ")[2].removesuffix(".")


@cache
def _table() -> str:
    with open(join(dirname(__file__), "schemas.txt"), encoding="ascii") as file:
        return file.read()
