"""Which operators must be lowered together.

An operand of more axes than a blob has is no blob of ncnn, even where pnnx wrote a layer that
reads it: beside a reshape to six axes the `Permute` says `0=0`, identity, since its order could
not be written. So a leaked operator takes along every operator that reads such an operand, until
operands come that ncnn can hold. What the files say of the rows in between does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pnnxfix.graph.batch_axis import NO_BATCH
from pnnxfix.graph.blobs import MAX_RANK
from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.shapes import Annotations
from pnnxfix.graph.splits import EXPRESSION, SPLIT, is_layout_row
from pnnxfix.pipeline.batch_faults import MENDED_ALONE
from pnnxfix.pipeline.counterparts import (
    ATTENTION,
    LAYERS_OF,
    TRANSPOSES,
    fits,
    is_broadcast_row,
    may_be_reshape,
    skip_changes_of_layout,
)
from pnnxfix.pipeline.expansions import Expansions
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.rules.base import INTEGER_TYPES, OperatorRule, Refusal
from pnnxfix.rules.lowering.family import Family

_LARGEST_REGION = 64
_HELP = "report this with the files; or reduce the rank in the PyTorch model"
_UNPACK = "prim::ListUnpack"
_SOURCES = frozenset({"pnnx.Input", "pnnx.Attribute"})
_ENDS = frozenset({"pnnx.Output", "prim::TupleConstruct"})


@dataclass(frozen=True, slots=True)
class Part:
    """One operator of a region: its row in the pnnx graph, its row in the ncnn graph, its meaning.

    `results` are its tensors with the blob of each. An operator that gives a list has for them the
    outputs of the `prim::ListUnpack` that reads it. That row goes with it, and so do other layers that
    pnnx made of the operator: `more`. `inputs` are the blobs of its inputs, None where those are others.
    """

    operator: Operator
    handle: int
    rule: Family
    results: tuple[tuple[str, str], ...]
    inputs: tuple[str, ...] | None
    more: tuple[int, ...] = ()


class Regions:
    """Grows regions from leaked operators of one conversion.

    `takes_members`: a region may end at blobs that hold the members of an axis that is no batch in truth. As
    a rule it goes on there: what pnnx makes of such an axis may be wrong.
    """

    def __init__(self, loaded: LoadedConversion, rules: Mapping[str, OperatorRule]) -> None:
        assert loaded.pnnx is not None
        assert loaded.ncnn is not None
        self._loaded = loaded
        self._pnnx = loaded.pnnx.graph
        self._ncnn = loaded.ncnn.graph
        self._rules = rules
        self._shapes = Annotations(self._pnnx)
        self._expansions = Expansions(self._pnnx, self._ncnn)
        self.takes_members = False

    def grow(self, operator: Operator, handle: int, rule: Family) -> list[Part] | Refusal:
        """The region of a leaked operator, in the order of the graph."""
        first = self._make_part(operator, handle, rule)
        if isinstance(first, Refusal):
            return first
        parts = {first.handle: first}
        pending = [first]
        while pending:
            part = pending.pop()
            around = self._makers(part)
            for operand, blob in part.results:
                is_end = self.is_plain(operand) or (self.takes_members and self.is_blob(operand))
                if isinstance(around, Refusal) or is_end:
                    continue
                found = self._readers(operand, blob)
                if isinstance(found, Refusal) and self.is_blob(operand):
                    continue  # its members stay apart, as pnnx has them
                around = found if isinstance(found, Refusal) else around + found
            if isinstance(around, Refusal):
                return around
            for other in around:
                if other.handle not in parts:
                    parts[other.handle] = other
                    pending.append(other)
            if len(parts) > _LARGEST_REGION:
                return Refusal("too many operators work on more axes than ncnn has", _HELP)
        return [parts[at] for at in sorted(parts)]

    def _make_part(self, operator: Operator, handle: int, rule: Family) -> Part | Refusal:
        row = self._ncnn[handle]
        more: tuple[int, ...] = ()
        inputs = _find_inputs(operator, row, rule)
        if operator.type == EXPRESSION and row.type != EXPRESSION:
            expansion = self._expansions.find(operator)
            if expansion is None or handle not in expansion.rows:
                return Refusal(f"which layers compute `{operator.name}` is not certain", _HELP)
            more, handle = expansion.rows[:-1], expansion.rows[-1]
            row, inputs = self._ncnn[handle], expansion.inputs
        operator_outputs, outputs = operator.outputs, row.outputs
        if rule.gives_list and len(outputs) == 1:
            unpacks = [self._find_unpack(graph, list_of) for graph, list_of in (
                (self._pnnx, operator.outputs[0]), (self._ncnn, row.outputs[0]))]  # fmt: skip
            if unpacks[0] is not None and unpacks[1] is not None:
                operator_outputs = self._pnnx[unpacks[0]].outputs
                outputs, more = self._ncnn[unpacks[1]].outputs, (unpacks[1],)
            elif unpacks[0] is not None or unpacks[1] is not None:
                return Refusal(f"the list that {operator.name} makes is not simply taken apart", _HELP)
        elif len(outputs) == 1:
            outputs, own = self._skip_own_reshape((operator.name, row.name), outputs[0])
            more = (*more, *own)
        if len(outputs) != len(operator_outputs):
            return Refusal(f"{operator.name} has other outputs in ncnn than in pnnx", _HELP)
        results = tuple(zip(operator_outputs, outputs, strict=True))
        return Part(operator, handle, rule, results, inputs, more)

    def _skip_own_reshape(self, names: tuple[str, str], blob: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """The output after the Reshape that pnnx put behind a layer of these names, and that row."""
        users = self._ncnn.users(blob)
        if len(users) == 1:
            reader = self._ncnn[users[0]]
            if is_broadcast_row(reader) and reader.name.startswith(
                tuple(f"{name}_ncnnreshape" for name in names)
            ):
                return reader.outputs, (users[0],)
        return (blob,), ()

    def _find_unpack(self, graph: Graph, operand: str) -> int | None:
        """The only reader of a list, if that takes it apart."""
        users = graph.users(operand)
        return users[0] if len(users) == 1 and graph[users[0]].type == _UNPACK else None

    def is_plain(self, operand: str) -> bool:
        """Whether ncnn holds an operand in one blob of certain layout."""
        found = self._shapes.find(operand)
        if found is None or not found[0]:
            return True
        if self._computes_integers(operand) or self._loaded.folding.is_inner(operand):
            return False
        return self._loaded.batch.is_plain(operand, found[0]) and not self._overflows_attention(operand)

    def find_lie(self, covered: set[str]) -> Refusal | None:
        """An operator that no region covers and whose layer loads and computes something else, in words.

        It has more axes than ncnn, or its blob holds other members than those of its batch.
        """
        misplaced = self._loaded.batch.wrong
        for handle in self._pnnx:
            operator = self._pnnx.original(handle)
            if operator.name in covered:
                continue
            if handle in misplaced and operator.type not in MENDED_ALONE:
                return Refusal(
                    f"before `{operator.type}` {operator.name} pnnx takes another axis for the batch than "
                    "behind it, and the layers there load and compute something else",
                    "reshape in the PyTorch model so that the batch stays one axis",
                )
            if operator.type in LAYERS_OF and self._is_too_wide(operator):
                return Refusal(
                    f"`{operator.type}` {operator.name} works on more axes than ncnn has, and the layer that "
                    "pnnx wrote for it loads and computes something else",
                    "reduce the rank of that tensor in the PyTorch model",
                )
        return None

    def _is_too_wide(self, operator: Operator) -> bool:
        names = (*operator.inputs, *operator.outputs)
        if operator.type != EXPRESSION and not all(map(self._fits_rank, names)):
            return True
        return any(map(self._overflows_attention, operator.inputs))

    def _overflows_attention(self, operand: str) -> bool:
        """Whether ncnn's SDPA, which knows heads, rows and columns, reads a blob of more axes."""
        found = self._shapes.find(operand)
        if found is None or len(found[0]) <= 3:
            return False
        axes = len(found[0]) - (self._loaded.batch.axis(operand) not in (None, NO_BATCH))
        return axes > 3 and any(self._pnnx[at].type == ATTENTION for at in self._pnnx.users(operand))

    def _fits_rank(self, operand: str) -> bool:
        found = self._shapes.find(operand)
        if found is None:
            return True
        return len(found[0]) - (self._loaded.batch.left_out(operand) not in (None, NO_BATCH)) <= MAX_RANK

    def is_blob(self, operand: str) -> bool:
        """Whether ncnn can hold an operand in the layout that later layers expect."""
        found = self._shapes.find(operand)
        if found is None or not found[0]:
            return True
        if self._computes_integers(operand) or self._loaded.folding.is_inner(operand):
            return False
        has_room = self._loaded.batch.has_room(operand, found[0], self.takes_members)
        return has_room and not self._overflows_attention(operand)

    def _computes_integers(self, operand: str) -> bool:
        """Whether an operand is of integers that an operator makes, which ncnn's layers do not."""
        found, maker = self._shapes.find(operand), self._pnnx.maker(operand)
        is_integer = found is not None and found[1] in INTEGER_TYPES
        return is_integer and maker is not None and maker.type not in _SOURCES

    def is_output(self, operand: str) -> bool:
        """Whether an operand is an output of the network, by itself or in a tuple."""
        return any(self._pnnx[at].type in _ENDS for at in self._pnnx.users(operand))

    def _describe(self, operand: str) -> str:
        """What keeps an operand from being a blob, in words."""
        found = self._shapes.find(operand)
        if found is not None and self._computes_integers(operand):
            return f"integers ({found[1]}), and ncnn's layers compute on floats only"
        return f"{len(self._shape(operand))} axes, more than ncnn has"

    def _makers(self, part: Part) -> list[Part] | Refusal:
        """The operators that make what a part reads, where that is no blob of ncnn."""
        parts: list[Part] = []
        for at, operand in enumerate(part.operator.inputs):
            maker = self._pnnx.maker(operand)
            if part.inputs is not None and not part.inputs[at]:
                continue
            if self.is_blob(operand) or maker is None or maker.type == "pnnx.Attribute":
                continue
            if self._loaded.folding.is_inner(operand):
                continue  # its numbers are known, whichever layers made them
            rule = self._rules.get(maker.type)
            if part.inputs is None or not isinstance(rule, Family):
                reason = f"`{maker.type}` makes a tensor of {self._describe(operand)}"
                return Refusal(reason, _HELP)
            blob = skip_changes_of_layout(self._ncnn, part.inputs[at], not may_be_reshape(maker))
            handle = self._ncnn.producer(blob)
            if handle is None or handle not in self._ncnn or not fits(self._ncnn[handle], maker):
                return Refusal(f"which layer computes `{maker.name}` is not certain", _HELP)
            made = self._make_part(maker, handle, rule)
            if isinstance(made, Refusal):
                return made
            parts.append(made)
        return parts

    def _readers(self, operand: str, blob: str) -> list[Part] | Refusal:
        """The operators that read an operand, each with its row in the ncnn graph."""
        wanted = [self._pnnx[at] for at in dict.fromkeys(self._pnnx.users(operand))]
        if self._computes_integers(operand):  # the operator itself may say why it cannot be lowered
            wanted = [operator for operator in wanted if operator.type not in _ENDS]
        if any(operator.type in _ENDS for operator in wanted):
            reason = f"an output of the network has {self._describe(operand)}"
            return Refusal(reason, "reshape it to fewer axes in the PyTorch model")
        rows = self._rows_reading(blob, not any(map(may_be_reshape, wanted)))
        self._merge_expansions(rows, wanted)
        if len(rows) != len(wanted):
            return Refusal(
                f"{len(wanted)} operators read operand {operand} and {len(rows)} layers its blob", _HELP
            )
        parts = []
        for operator in wanted:
            row = self._pick(rows, operator)
            if row is None:
                operator = self._skip_fused_transpose(operator)
                row = self._pick(rows, operator)
            rule = self._rules.get(operator.type)
            if row is None or not isinstance(rule, Family):
                return Refusal(f"`{operator.type}` works on {self._describe(operand)}", _HELP)
            rows.remove(row)
            part = self._make_part(operator, row, rule)
            if isinstance(part, Refusal):
                return part
            parts.append(part)
        return parts

    def _merge_expansions(self, rows: list[int], wanted: list[Operator]) -> None:
        """Leave one row of each Expression, which may read an operand with several of its layers."""
        for operator in wanted:
            expansion = self._expansions.find(operator) if operator.type == EXPRESSION else None
            for row in [row for row in rows if expansion is not None and row in expansion.rows][1:]:
                rows.remove(row)

    def _skip_fused_transpose(self, operator: Operator) -> Operator:
        """The product that a transposition went into: pnnx writes MatMul 0=1 for both."""
        users = self._pnnx.users(operator.outputs[0]) if operator.type in TRANSPOSES else []
        if len(users) == 1 and self._pnnx[users[0]].type == "torch.matmul":
            return self._pnnx[users[0]]
        return operator

    def _pick(self, rows: list[int], operator: Operator) -> int | None:
        for row in rows:
            layer = self._ncnn[row]
            if layer.type == operator.type and layer.name == operator.name:
                return row
        fitting = [row for row in rows if fits(self._ncnn[row], operator)]
        expansion = self._expansions.find(operator) if operator.type == EXPRESSION else None
        if expansion is not None:
            fitting = [row for row in rows if row in expansion.rows]
        # Rows keep the order of their operators, so the first one is this operator's.
        return fitting[0] if fitting else None

    def _rows_reading(self, blob: str, skips_reshapes: bool) -> list[int]:
        """The rows that read a blob, through Splits and pnnx's own changes of layout.

        `skips_reshapes`: no operator reshapes it, so that every Reshape is such a change.
        """
        found: list[int] = []
        pending = [blob]
        while pending:
            name = pending.pop()
            for handle in self._ncnn.users(name):
                layer = self._ncnn[handle]
                if is_broadcast_row(layer) and layer.inputs[0] != name:
                    continue  # it reads only the sizes
                passes = layer.type == SPLIT or is_layout_row(layer) or is_broadcast_row(layer)
                if passes or (skips_reshapes and layer.type == "Reshape"):
                    pending.extend(layer.outputs)
                else:
                    found.append(handle)
        return sorted(found)

    def _shape(self, operand: str) -> tuple[int, ...]:
        found = self._shapes.find(operand)
        return () if found is None else found[0]


def _find_inputs(operator: Operator, row: Operator, rule: Family) -> tuple[str, ...] | None:
    """The blob of each input of an operator, "" for one that only gives its shape and that pnnx dropped."""
    if len(row.inputs) == len(operator.inputs):
        return row.inputs
    unread = {one.name for one in rule.parameters if one.type == "Ignored"}
    dropped = {name for key, _, name in (word.partition("=") for word in operator.rest) if key[1:] in unread}
    blobs = iter(row.inputs)
    found = tuple("" if name in dropped else next(blobs, "") for name in operator.inputs)
    return found if sum(map(bool, found)) == len(row.inputs) else None
