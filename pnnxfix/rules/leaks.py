"""Leaks that no rule of an operator repairs: named, explained, left alone."""

from __future__ import annotations

from pnnxfix.rules.base import Rule


class UnusedIgnore(Rule):
    """A comment that ignores a finding which is not there.

    What it finds: `# pnnxfix: ignore[...]` on a line of Python on which nothing of these codes
    is found.

    Why it breaks: it hides the next finding on that line, which nobody has looked at.

    Repair: none; remove the comment.

    Limits: none.

    Example:
        v_2 = torch.relu(v_1)  # pnnxfix: ignore[PNX101]

    Source: pnnxfix's own comments.
    """

    code = "PNX001"
    name = "unused-ignore"
    fixable = "never"


class LeakedExpression(Rule):
    """A `pnnx.Expression` that reached the ncnn graph.

    What it finds: a row of type `pnnx.Expression` in `.ncnn.param`: a constant, a size, a list
    that an unconverted operator wanted.

    Why it breaks: ncnn has no such layer: `layer pnnx.Expression not exists or registered`.

    Repair: the row goes with the last operator that reads it, and the Split that shared it too.

    Limits: an Expression that an operator without a repair reads stays, since it says what
    that operator was given.

    Example:
        pnnx.Expression          pnnx_expr_0              0 1 1

    Source: pnnx pass_ncnn/expand_expression, which leaves constants and lists alone.
    """

    code = "PNX201"
    name = "leaked-expression"


class BareSpecial(Rule):
    """A value that is assigned a bare `inf` or `nan`.

    What it finds: `v_1 = -inf` in `_pnnx.py`.

    Why it breaks: the file parses, and raises NameError when it runs.

    Repair: `float('-inf')`; where a repaired operator was the only reader, the statement goes.

    Limits: none.

    Example:
        v_1 = -inf        ->      v_1 = float('-inf')

    Source: pnnx writes the value of the Expression as it is, in every release since 20240226.
    """

    code = "PNX202"
    name = "bare-infinity"
    fixable = "always"


class UnknownLayer(Rule):
    """A layer that ncnn does not know and for which there is no rule.

    What it finds: a row of `.ncnn.param` whose type is no layer of ncnn.

    Why it breaks: ncnn refuses the whole graph: `layer ... not exists or registered`; releases
    up to 20250916 crash the process.

    Repair: none yet.

    Limits: a layer that your own program registers is no fault: name it under `custom-layers`
    in `[tool.pnnxfix]`, or with `--custom-layer`.

    Example:
        aten::heaviside          pnnx_1                   2 1 in0 1 out0

    Source: the layer types that ncnn's wheels create, tried one by one.
    """

    code = "PNX900"
    name = "unknown-layer"
    fixable = "never"


class UnknownOperator(Rule):
    """A call in `_pnnx.py` that pnnx left as it was and for which there is no rule.

    What it finds: a statement such as `v_4 = aten::heaviside(v_0, v_3)`.

    Why it breaks: `::` is no Python, so the whole file does not parse.

    Repair: none yet.

    Limits: none.

    Example:
        v_4 = aten::heaviside(v_0, v_3)

    Source: pnnx prints every operator that none of its passes knows in this way.
    """

    code = "PNX901"
    name = "unknown-operator"
    fixable = "never"


class BrokenStatement(Rule):
    """A statement of `_pnnx.py` that is no Python for another reason than a leaked operator.

    What it finds: the line on which the file stops parsing.

    Why it breaks: the whole file does not parse.

    Repair: none yet.

    Limits: none.

    Example:
        self.0 = nn.Conv2d(...)

    Source: pnnx uses module names as they are; a Sequential at top level gives `self.0`.
    """

    code = "PNX902"
    name = "broken-statement"
    fixable = "never"
