"""What a rule is proved on: small networks as text, which pnnx converts into fixtures.

A case is text only, so that rules can hold their own cases and checking a file never loads torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

RELEASES = ("20240226", "20240819", "20250430", "20260409", "20261020")
"""The pnnx releases that fixtures are made with, oldest first."""

LATEST = RELEASES[-1:]


class Case:
    """A network whose leaked operators `fix` repairs in every file.

    expression: PyTorch text over the inputs and the parts, or several lines that end in `return`;
        a tuple gives several outputs. `torch`, `nn` and `F` are there.
    twin: the same network in the form that pnnx converts natively; the same layers up to names.
    twin_from: the first release that converts the twin rightly.
    setup: part name to expression: a module, an `nn.Parameter`, or a plain tensor (a buffer);
        `net("f(x)", f=nn.ReLU())` is a nested module with the one input `x`.
    releases: the pnnx releases that convert it in a way worth keeping.
    stem: name of the TorchScript file without `.pt`.
    rows: of the smallest embedding that the integers of the inputs are indexes of.
    inputs: name to `dtype[shape]` in torch's axis order, as in `f32[1,3,8,8]`.
    """

    def __init__(
        self,
        expression: str,
        *,
        id: str = "",
        twin: str = "",
        twin_from: str = RELEASES[0],
        setup: Mapping[str, str] | None = None,
        releases: tuple[str, ...] | None = None,
        stem: str = "model",
        rows: int = 0,
        **inputs: str,
    ) -> None:
        self.expression = expression
        self.id = id or re.sub(r"[^a-z0-9]+", "-", expression.lower()).strip("-")
        self.twin = twin
        self.twin_from = twin_from
        self.setup = dict(setup or {})
        self.releases = RELEASES if releases is None else releases
        self.stem = stem
        self.rows = rows
        self.inputs = inputs

    @property
    def twin_releases(self) -> tuple[str, ...]:
        """The releases whose conversion of the twin is kept; none without a twin."""
        return tuple(r for r in self.releases if self.twin and r >= self.twin_from)


class Refused(Case):
    """A network whose repair is refused, at least for ncnn, for a reason that holds `because`."""

    def __init__(
        self,
        expression: str,
        *,
        because: str,
        id: str = "",
        twin: str = "",
        twin_from: str = RELEASES[0],
        setup: Mapping[str, str] | None = None,
        releases: tuple[str, ...] | None = None,
        stem: str = "model",
        rows: int = 0,
        **inputs: str,
    ) -> None:
        Case.__init__(
            self,
            expression,
            id=id,
            twin=twin,
            twin_from=twin_from,
            setup=setup,
            releases=releases,
            stem=stem,
            rows=rows,
            **inputs,
        )
        self.because = because


class Clean(Case):
    """A network that pnnx converts without a leak although its code holds the operator."""
