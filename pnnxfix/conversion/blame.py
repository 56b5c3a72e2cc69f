"""Finds the operator of which pnnx dies: by its log, or by converting parts of the model."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from pnnxfix.conversion.arguments import Arguments
from pnnxfix.conversion.log import Log
from pnnxfix.conversion.pnnx import Pnnx, run_pnnx
from pnnxfix.conversion.staging import Stage
from pnnxfix.errors import PnnxfixError
from pnnxfix.rules.console import DiedInOperator
from pnnxfix.verify.process import Child, ChildFailed, Limits

_PROGRAM = Path(__file__).with_name("programs") / "truncate.py"
_ARITHMETIC = ("aten::add", "aten::sub", "aten::rsub", "aten::mul", "aten::div", "aten::pow")
_MAX_RUNS = 40
_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Culprit:
    """The operator (`aten::mul`, "" if it was not found), where the model calls it, and how that is known."""

    operator: str
    source: str = ""
    evidence: str = ""

    @property
    def cure(self) -> str:
        """What to change in the PyTorch model."""
        if self.operator in _ARITHMETIC:
            return "pnnx is known to die of inf, nan, True and None inside arithmetic: use a finite number"
        return "replace it in the PyTorch model before that is traced"


def check_inputs(arguments: Arguments, log: Log) -> None:
    """Raises PnnxfixError where PyTorch refuses inputs of the given shapes for the reason of pnnx's death.

    pnnx compares them with those of the trace from 20241223 on, and dies of them before. Another
    reason may lie in the zeros that are fed here.
    """
    last_words = [group.text for group in log.groups if group.rule is DiedInOperator]
    if not arguments.shapes or not last_words:
        return
    child = Child(str(_PROGRAM), Limits(seconds=_SECONDS))
    try:
        answer = child.ask("run", path=str(arguments.model.resolve()), shapes=arguments.shapes)
    except ChildFailed:
        return  # no PyTorch, or it dies as well
    finally:
        child.close()
    refused = answer["refused"]
    # Of a wrong number of inputs each release has other words, and all name `forward`.
    if refused and any(refused in words or "forward" in words for words in last_words):
        given = f"inputshape={arguments.options['inputshape']}"
        raise PnnxfixError(f"{arguments.model}: PyTorch does not run it on {given}: {refused}")


def find_culprit(pnnx: Pnnx, stage: Stage, model: Path, log: Log) -> Culprit:
    """The operator of which pnnx died when it converted `model`. Needs PyTorch where the log is silent.

    Cost: as many runs of pnnx as the number of nodes has binary digits, each on a part of the model.
    """
    if log.culprit:
        evidence = f"pnnx's own PyTorch fails in `{log.code}`" if log.code else ""
        return Culprit(log.culprit, log.source, evidence)
    try:
        return _bisect(pnnx, stage, model.resolve())
    except ChildFailed as error:
        return Culprit("", "", f"the model could not be cut into parts: {error.reason}")


def _bisect(pnnx: Pnnx, stage: Stage, model: Path) -> Culprit:
    child = Child(str(_PROGRAM), Limits(seconds=_SECONDS))
    try:
        nodes = child.ask("list_nodes", path=str(model))["nodes"]
        low, high, runs = 0, len(nodes), 0
        # Of the first `low` nodes pnnx makes a model, of the first `high` it dies.
        while high - low > 1 and runs < _MAX_RUNS:
            middle = (low + high) // 2
            runs += 1
            if _dies(pnnx, stage, model, child, middle):
                high = middle
            else:
                low = middle
        if high == len(nodes) and not _dies(pnnx, stage, model, child, high):
            return Culprit("", "", f"pnnx converts each of {runs} parts of the model; it dies of the whole")
    finally:
        child.close()
    kind, source = nodes[high - 1]
    parts = f"of the first {high} nodes pnnx dies, of the first {low} it makes a model ({runs} runs)"
    return Culprit(kind, source, parts)


def _dies(pnnx: Pnnx, stage: Stage, model: Path, child: Child, count: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="pnnxfix-") as name:
        part = Path(name, "part.pt")
        if child.ask("cut", path=str(model), target=str(part), count=count)["outputs"] == 0:
            return False
        keys = ("inputshape", "inputshape2", "input", "input2", "device", "optlevel", "customop")
        words = [word for word in stage.command[1:] if word.partition("=")[0] in keys]
        run = run_pnnx(pnnx, [part.name, *words], Path(name), Path(name, "pnnx.log"), _SECONDS)
        return run.exit_code != 0 or not Path(name, "part.ncnn.param").exists()
