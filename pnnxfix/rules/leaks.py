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


class LeakedLayoutChange(Rule):
    """A change of layout before or after an operator that pnnx left behind.

    What it finds: a row `Tensor.reshape ..._ncnnbatch2dim_0` in `.ncnn.param`, which has no
    counterpart in `.pnnx.param`: pnnx put it in because the operator beside it wants the batch
    axis at another place, and could not convert it since the tensor then has five axes.

    Why it breaks: ncnn has no layer `Tensor.reshape`.

    Repair: it goes with the operator that it serves, whose layers need no such change.

    Limits: it stays where that operator stays.

    Example:
        Tensor.reshape           torch.unbind_17_ncnnbatch2dim_0 1 1 11 12

    Source: pnnx pass_ncnn/convert_batch_layout; conversions of 20261020.
    """

    code = "PNX204"
    name = "leaked-layout-change"


class LeakedList(Rule):
    """A list of tensors around an operator that pnnx left behind.

    What it finds: a row `prim::ListConstruct`, `prim::TupleConstruct` or `prim::ListUnpack` in
    `.ncnn.param`: what an operator takes a list of tensors from, or what takes apart the list that
    it gives.

    Why it breaks: ncnn has blobs and no lists, and no such layer.

    Repair: it goes with the operator; the layers that take that one's place read and make the
    tensors themselves.

    Limits: it stays where that operator stays.

    Example:
        aten::unsafe_chunk       pnnx_2                   3 1 in0 2 1 3
        prim::ListUnpack         pnnx_3                   1 2 3 out0 out1

    Source: TorchScript's prim operators; conversions of all releases.
    """

    code = "PNX205"
    name = "leaked-list"


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


class BareWord(Rule):
    """A string that is assigned without its quotes.

    What it finds: `v_3 = amax` or `v_1 = (ij)` in `_pnnx.py`.

    Why it breaks: the file parses, and raises NameError when it runs; `v_3 = sum` does not even
    do that, and passes Python's own function on.

    Repair: `v_3 = 'amax'`; where a repaired operator was the only reader, the statement goes.

    Limits: none.

    Example:
        v_3 = amax        ->      v_3 = 'amax'

    Source: pnnx writes the value of the Expression as it is, in every release since 20240226.
    """

    code = "PNX203"
    name = "bare-word"
    fixable = "always"


class LeakedOperator(Rule):
    """A call in `_pnnx.py` that pnnx left as it was, of any operator of PyTorch.

    What it finds: a statement such as `v_6 = aten::scatter_reduce(v_0, v_5, v_4, v_1, v_3, v_2)`
    whose operator has no rule of its own.

    Why it breaks: `::` is no Python, so the whole file does not parse. And its arguments are not
    those of a Python function: all of the schema's stand there by position, keyword-only ones and
    defaults included, strings have no quotes, dtypes and memory formats are integers, and the
    name of the overload is gone.

    Repair: the operator's schema tells what each argument is. The overload is chosen by the
    number of arguments and results and by their kinds; the call is printed with the public name
    where PyTorch has one with the same meaning (`torch.addcmul`, `torch.nn.functional.cross_entropy`,
    `v_0.view_as(v_1)`), with `torch.ops.aten...` otherwise, and without the arguments that equal
    their defaults. Where Python could take the printed call for another overload, the overload
    is named: `torch.ops.aten.var.correction(...)`. Constants that nothing reads any more go.

    Limits: only the Python; the operator's row in the ncnn graph needs a rule of its own. Where
    the arguments fit two overloads that mean different things, nothing is changed. A number whose
    digits pnnx may have destroyed is taken from the TorchScript file beside the output, or asked
    for with `--value`. Operators of other libraries are called through `torch.ops`, which needs
    that library. Random operators are repaired, but two runs of them cannot be compared.

    Example:
        v_2 = 2.0
        v_3 = aten::addcmul(v_0, v_1, v_1, v_2)    ->    v_3 = torch.addcmul(v_0, v_1, v_1, value=2.0)

    Source: the schemas that PyTorch registers, and the signatures of its Python functions
    (`pnnxfix/data/schemas.txt`).
    """

    code = "PNX110"
    name = "leaked-operator"


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
    """A call in `_pnnx.py` that pnnx left as it was, of an operator that PyTorch does not have.

    What it finds: a statement such as `v_4 = mylib::pack(v_0, v_3)` that cannot be written as
    `torch.ops.mylib.pack(...)` with what the file tells.

    Why it breaks: `::` is no Python, so the whole file does not parse.

    Repair: none; without the operator's schema it is not known what a bare word is.

    Limits: none.

    Example:
        v_3 = fast
        v_4 = mylib::pack(v_0, v_3)

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
