"""`--prepare`: a copy of the model in operators that pnnx converts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pnnxfix.codecs.torchscript import read_calls
from pnnxfix.conversion.rewrites import RENAMES, REWRITES
from pnnxfix.errors import ParseError
from pnnxfix.verify.process import Child, ChildFailed, Limits

PROGRAM = Path(__file__).with_name("programs") / "prepare.py"
_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """How often each operator was rewritten; `failure` is why the model could not be."""

    rewritten: dict[str, int]
    failure: str = ""


def prepare_model(model: Path, target: Path) -> Prepared:
    """Write a rewritten copy of `model` as `target`; no file where nothing of it can be rewritten.

    PyTorch runs in a child process, and only where the code of the model calls an operator of
    `rewrites.REWRITES`.
    """
    if not _may_rewrite(model):
        return Prepared({})
    child = Child(str(PROGRAM), Limits(seconds=_SECONDS))
    try:
        answer = child.ask("prepare", path=str(model.resolve()), target=str(target.resolve()))
    except ChildFailed as error:
        return Prepared({}, error.reason)
    finally:
        child.close()
    return Prepared(answer["rewritten"])


def _may_rewrite(model: Path) -> bool:
    """Whether the code calls an operator of the table, as far as its text tells. No PyTorch is needed."""
    names = {row.operator for row in REWRITES} | RENAMES.keys()
    try:
        traced = read_calls(model, names)
    except ParseError:
        return True
    return bool(traced.calls) or not traced.certain
