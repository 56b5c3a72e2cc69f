"""The settings of `verify`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pnnxfix.verify.process import Limits

TOLERANCES = {"fp32": 1e-4, "fp16": 2e-2, "int8": 2e-1}
"""By what the weights are stored as. A half float is off by up to a thousandth, and errors add up."""

TORCH_TOLERANCE = 1e-4
"""The generated Python keeps its weights as they were."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`reference` names the TorchScript file or the `_pnnx.py` to believe, `outputs` stored arrays instead.

    `inputs` are arrays by input; empty means random draws, `draws` of them. `tolerance` None depends on the
    precision of the weights.
    """

    reference: Path | None = None
    outputs: Path | None = None
    inputs: Mapping[str, Path] = field(default_factory=dict)
    tolerance: float | None = None
    bisect: bool = False
    draws: int = 3
    limits: Limits = field(default_factory=Limits)
    exclude: tuple[str, ...] = ()
