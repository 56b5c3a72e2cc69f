"""Calls that read or make a tensor in another shape than they were traced with."""

from __future__ import annotations

import ast

from pnnxfix.rules.base import Refusal
from pnnxfix.rules.reshape_sizes import has_wrong_sizes, read_sizes
from pnnxfix.rules.shuffles import find_lost_reshape
from pnnxfix.rules.statement import Forward, Statement, StatementRule


class LostReshape(StatementRule):
    """A shuffle of channels whose input has another shape.

    What it finds: `self.pixelshuffle_0(v_1)`, `self.pixelunshuffle_0(v_1)` and `self.channelshuffle_0(v_1)`
    where `.pnnx.param` says that v_1 has another shape than one from which such a result comes.

    Why it breaks: pnnx made it of a reshape, a permutation and a reshape, and lost what the first one
    did besides. The result has another shape, and other numbers.

    Repair: the input is reshaped first.

    Limits: found only with `.pnnx.param`, which itself keeps the operator as it is.

    Example:
        v_2 = self.pixelshuffle_0(v_1)    ->    v_2 = self.pixelshuffle_0(v_1.reshape(1, 256, 16, 16))

    Source: pnnx pass_level5/fuse_pixel_shuffle, fuse_pixel_unshuffle, fuse_channel_shuffle.
    """

    code = "PNX226"
    name = "lost-reshape"

    def repair(self, statement: Statement, forward: Forward) -> str | Refusal | None:
        row, tree = statement.row, statement.tree
        if (
            row is None
            or not row.inputs
            or not isinstance(tree, ast.Call)
            or len(tree.args) != 1
            or tree.keywords
        ):
            return None
        given, result = (statement.operand(name) for name in (row.inputs[0], row.outputs[0]))
        if not isinstance(tree.args[0], ast.Name) or tree.args[0].id != f"v_{row.inputs[0]}":
            return None
        if given is None or result is None or not given.shape or not result.shape:
            return None
        wanted = find_lost_reshape(row, given.shape, result.shape)
        if wanted is None:
            return None
        return statement.rewrite({tree.args[0]: f"{tree.args[0].id}.reshape{wanted}"})

    def describe(self, statement: Statement) -> str:
        return "a reshape before this was lost"


class WrongSizes(StatementRule):
    """A reshape with more or fewer sizes than its result has axes.

    What it finds: `v_1.reshape(1, 144, 16, 4, 4)` or `v_1.reshape(1, 144, 16)` where `.pnnx.param` says
    that the result has shape (1,144,16,4), and v_1 as many elements.

    Why it breaks: pnnx miscounts sizes that are computed through a cast, and puts the shape of the result
    over the first ones only. The call raises, or the result has other axes.

    Repair: the shape of the result takes their place.

    Limits: found only with `.pnnx.param`, which itself keeps the sizes. In ncnn the same is repaired as
    PNX150, for conversions since 20261020.

    Example:
        v_2 = v_1.reshape(1, 144, 16, 4, 4)    ->    v_2 = v_1.reshape(1, 144, 16, 4)

    Source: pnnx pass_level5/eliminate_reshape_shape_expression; conversions of 20250430 to 20261020.
    """

    code = "PNX227"
    name = "wrong-sizes"

    def repair(self, statement: Statement, forward: Forward) -> str | Refusal | None:
        row, tree = statement.row, statement.tree
        if row is None or not row.inputs or not isinstance(tree, ast.Call):
            return None
        if not isinstance(tree.func, ast.Attribute):
            return None
        given, result = (statement.operand(name) for name in (row.inputs[0], row.outputs[0]))
        if given is None or result is None or not given.shape or not result.shape:
            return None
        written = f"{ast.unparse(tree.func)}({', '.join(map(str, read_sizes(row)))})"
        if ast.unparse(tree) != written or not has_wrong_sizes(row, given.shape, result.shape):
            return None
        return statement.rewrite({tree: f"{ast.unparse(tree.func)}({', '.join(map(str, result.shape))})"})

    def describe(self, statement: Statement) -> str:
        return "this reshape has more or fewer sizes than its result has axes"
