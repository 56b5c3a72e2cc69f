"""Networks that end in what ncnn cannot compute."""

from __future__ import annotations

from pnnxfix.rules.base import Rule


class InexpressibleEnd(Rule):
    """Operators without a repair at the end of a network, which can be taken out of it.

    What it finds: rows of `.ncnn.param` that no layer of ncnn can replace (a sort, a Fourier transform,
    the places of what is not zero), where nothing but such work and plain arithmetic comes behind them,
    up to the outputs.

    Why it breaks: ncnn refuses to load the whole graph because of them.

    Repair: only with `pnnxfix fix --cut`. The rows go, with all that hangs on them, and the network ends
    with the blobs that they read; `_ncnn.py` extracts these. `_pnnx.py` and `.pnnx.param` stay whole: the
    code after the named values (`v_54`) is what your program has to compute. All other rows must be right
    or repaired.

    Limits: not where layers with weights come behind, nor where the network would end with integers or
    with a blob whose layout is not certain. What `pnnxfix verify` compares are whole networks, so a shorter
    one cannot be verified.

    Example:
        aten::nonzero   pnnx_214        1 1 66 67
        BinaryOp        div_0           2 1 85 87 out0 0=3
        gone, and `66` is the last blob

    Source: networks that end in a selection by score; conversions since 20240226.
    """

    code = "PNX206"
    name = "inexpressible-end"
