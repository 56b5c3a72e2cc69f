"""What pnnx's console says, as documented rules."""

from __future__ import annotations

from pnnxfix.rules.console.base import ConsoleRule, Verdict
from pnnxfix.rules.console.lowering import (
    Assumption,
    BatchAxisOperator,
    LostConstant,
    RankLimit,
    UnknownShape,
    UnsupportedParameter,
)
from pnnxfix.rules.console.notes import (
    BatchAxisGuess,
    CutInteger,
    Deprecation,
    DroppedParameter,
    NarrowedInteger,
)
from pnnxfix.rules.console.running import (
    DiedInOperator,
    DiedInside,
    InputMismatch,
    OtherModel,
    UnknownLine,
    UnreadableModel,
    UnrecognizedArgument,
    UnwrittenFile,
)

LINE_RULES: tuple[type[ConsoleRule], ...] = (
    # The two that can be there a million times come first.
    BatchAxisGuess,
    DroppedParameter,
    NarrowedInteger,
    CutInteger,
    Deprecation,
    # What is more special comes before what is more general.
    Assumption,
    UnknownShape,
    BatchAxisOperator,
    UnsupportedParameter,
    RankLimit,
    LostConstant,
    UnrecognizedArgument,
    InputMismatch,
    UnwrittenFile,
    UnreadableModel,
    DiedInOperator,
    DiedInside,
)
"""Those that explain a line, in the order in which they are tried."""

__all__ = [
    "LINE_RULES",
    "Assumption",
    "BatchAxisGuess",
    "BatchAxisOperator",
    "ConsoleRule",
    "CutInteger",
    "Deprecation",
    "DiedInOperator",
    "DiedInside",
    "DroppedParameter",
    "InputMismatch",
    "LostConstant",
    "NarrowedInteger",
    "OtherModel",
    "RankLimit",
    "UnknownLine",
    "UnknownShape",
    "UnreadableModel",
    "UnrecognizedArgument",
    "UnsupportedParameter",
    "UnwrittenFile",
    "Verdict",
]
