"""Lines that need nothing, or nothing but a repair of the files."""

from __future__ import annotations

from pnnxfix.rules.console.base import ConsoleRule


class BatchAxisGuess(ConsoleRule):
    """pnnx found no batch axis for an operand.

    What it finds: `fallback batch axis 233 for operand 0`, `force batch axis 233 for operand 1`.

    Why it breaks: it does not. 233 says that ncnn keeps all axes of the tensor. Operators that are
    wrong because of a guess have a line of their own (PNX504).

    Repair: none needed.

    Limits: releases from 20251031 on print no such line and guess in the same way.

    Example:
        fallback batch axis 233 for operand 0

    Source: pnnx pass_ncnn/solve_batch_index, releases 20240226 to 20260409.
    """

    code = "PNX501"
    name = "batch-axis-guess"
    patterns = (r"(?:fallback|force) batch axis 233 for operand (?P<operand>\S.*)",)
    verdict = "harmless"
    meaning = "ncnn keeps all axes of this tensor"


class DroppedParameter(ConsoleRule):
    """A parameter that pnnx left out of `.ncnn.param`.

    What it finds: `ignore <type> <name> param <key>=<value>`.

    Why it breaks: the operator was not converted, and ncnn's file lost what it was given. This line
    is the only trace where `.pnnx.param` was deleted.

    Repair: `pnnxfix fix --log FILE` takes the value from here.

    Limits: harmless once the operator is repaired or gone.

    Example:
        ignore pnnx.Expression pnnx_expr_0 param expr=0.1

    Source: pnnx save_ncnn.cpp writes integer keys only; all releases from 20240226 on.
    """

    code = "PNX502"
    name = "dropped-parameter"
    patterns = (r"ignore (?P<type>\S+) (?P<name>\S+) param (?P<key>[^=]*)=(?P<value>.*)",)
    verdict = "fatal"
    meaning = "the operator was not converted, and ncnn's file lost this parameter"
    cure = "replace the operator in the PyTorch model"


class NarrowedInteger(ConsoleRule):
    """An input of 64-bit integers became one of 32-bit integers.

    What it finds: `replace ncnn input torch.long type with torch.int`.

    Why it breaks: it does not, if the input is fed as int32.

    Repair: none needed.

    Limits: older releases do the same without a word.

    Example:
        replace ncnn input torch.long type with torch.int

    Source: pnnx pass_ncnn, releases from 20241223 on.
    """

    code = "PNX508"
    name = "narrowed-integer"
    patterns = (r"replace ncnn input torch\.long type with torch\.int",)
    verdict = "harmless"
    meaning = "feed this input as int32"


class CutInteger(ConsoleRule):
    """A constant does not fit into 32 bits.

    What it finds: `Warning: int64 value 10000000000 exceeds int32 range`.

    Why it breaks: pnnx keeps another number. INT64_MAX as an open end of a slice is harmless.

    Repair: `pnnxfix fix` takes the value from the TorchScript file where a repaired operator reads it.

    Limits: releases before 20250430 cut it without a word.

    Example:
        Warning: int64 value 10000000000 exceeds int32 range

    Source: pnnx ir.cpp.
    """

    code = "PNX509"
    name = "cut-integer"
    patterns = (r"Warning: int64 value (?P<value>-?\d+) exceeds int32 range",)
    verdict = "suspect"
    meaning = "the constant became another number"
    cure = "write it as a float (1e10), or smaller"


class Deprecation(ConsoleRule):
    """A warning of the PyTorch inside pnnx.

    What it finds: `[W1124 ... SpectralOps.cpp:854] Warning: ...`.

    Why it breaks: it does not.

    Repair: none needed.

    Limits: none.

    Example:
        [W1124 09:15:08.406584495 SpectralOps.cpp:854] Warning: A window was not provided. [...]

    Source: libtorch's warning handler.
    """

    code = "PNX519"
    name = "torch-warning"
    patterns = (r"\[W\d.*?\] Warning: .*",)
    verdict = "harmless"
    meaning = "PyTorch's own remark"
