"""Lowers the operators of a region: gives each its arguments, and each result its blob."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pnnxfix.codecs.number import Number
from pnnxfix.graph.graph import Operator
from pnnxfix.graph.shapes import Annotation, Annotations
from pnnxfix.graph.splits import EXPRESSION, is_network_output, origin
from pnnxfix.pipeline.arguments import ATTRIBUTE, LISTS, Arguments, Refused
from pnnxfix.pipeline.batch import Layout
from pnnxfix.pipeline.counterparts import TRANSPOSES, is_broadcast_row, skip_layout_rows
from pnnxfix.pipeline.graph_edits import RegionLowering
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.pipeline.own_bytes import owns_bytes
from pnnxfix.pipeline.regions import Part, Regions
from pnnxfix.pipeline.stored import has_equal_weights, has_finite_weight, read_stored
from pnnxfix.rules.base import FLOAT_TYPES, INTEGER_TYPES, Refusal
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.expressions import evaluate
from pnnxfix.rules.lowering.stored import StoredTensor
from pnnxfix.rules.lowering.value import IndexBits

_INTEGER_HELP = (
    "compute it before the network and give it as an input (position_ids, attention_mask), or convert it "
    "with .float() in the PyTorch model"
)
_NO_SHAPE_HELP = "convert the model again with its inputshape, so that pnnx writes the shapes"
_MISFITS = (TypeError, ValueError, IndexError, KeyError, AttributeError, ArithmeticError)
_MISFIT_HELP = "report this with the files"
Settle = Callable[[str], Number | Refusal]


class RegionLowerer:
    """Lowers one region. Names of values that come from outside are the blobs that hold them."""

    def __init__(self, loaded: LoadedConversion, regions: Regions, settle: Settle) -> None:
        """`settle` gives the value of a constant of the first operator whose spelling is doubtful."""
        assert loaded.pnnx is not None
        assert loaded.ncnn is not None
        self._loaded = loaded
        self._regions = regions
        self._pnnx, self._ncnn = loaded.pnnx.graph, loaded.ncnn.graph
        self._shapes = Annotations(self._pnnx)
        self._settle = settle
        self._builder = Builder()
        self._part: tuple[str, ...] = ()
        self._values: dict[str, Value] = {}
        self._results: list[tuple[str, str]] = []
        self._places: list[int] = []

    def lower(self, parts: list[Part]) -> RegionLowering | Refusal:
        """All parts in order; a Refusal says which argument or layer is missing."""
        try:
            for part in parts:
                self._lower_part(part, is_first=part is parts[0])
        except Refused as error:
            return error.refusal
        except NotExpressible as error:
            return Refusal(error.reason, error.help)
        return RegionLowering(
            tuple(sorted(at for part in parts for at in (part.handle, *part.more))),
            tuple(self._builder.layers),
            tuple(self._places),
            tuple(self._results),
            dict(self._builder.constants),
            dict(self._builder.weights),
        )

    def _lower_part(self, part: Part, is_first: bool) -> None:
        if self._fold(part):
            return
        row = self._ncnn[part.handle]
        if part.operator.type == "torch.matmul" and row.type == "MatMul" and "0=1" in row.rest:
            self._transpose_other(part.operator, row)
        arguments = Arguments(self, part, is_first)
        arguments.refuse_others(part.rule.arguments)
        self._builder.result_shapes = [self._result_shape(name) for name, _ in part.results]
        found = [self._shapes.find(name) for name, _ in part.results]
        self._builder.result_types = [None if one is None else one[1] for one in found]
        self._builder.argument_makers = set()
        self._builder.own = row
        self._builder.takes_own_bytes = False
        self._builder.own_attributes = tuple(word for word in part.operator.rest if word.startswith("@"))
        self._builder.integers_fit = all(
            one is None or one[1] not in INTEGER_TYPES or self._loaded.integers.find(name) is not None
            for one, (name, _) in zip(found, part.results, strict=True)
        )
        self._part = (part.operator.name, *(self._ncnn[at].name for at in (part.handle, *part.more)))
        values = [arguments.get(parameter, at) for at, parameter in enumerate(part.rule.parameters)]
        try:
            made = part.rule.lower(self._builder, *values)
        except _MISFITS as error:
            # The files are not trusted: an axis may be a word, or a list shorter than it must be.
            reason = f"its arguments do not fit {part.operator.type}: {error}"
            raise Refused(Refusal(reason, _MISFIT_HELP)) from error
        results = (made,) if isinstance(made, Value) else tuple(made)
        has_bytes = owns_bytes(row) or bool(self._builder.own_attributes)
        if has_bytes and not self._builder.takes_own_bytes and not self._keeps_own_layer(row):
            results = self._consume_bytes(row, results)
        if len(results) != len(part.results):
            raise Refused(Refusal(f"{part.operator.type} has another number of results", "report this"))
        for (operand, blob), result in zip(part.results, results, strict=True):
            if result is not None:
                self._finish(operand, blob, result)
            elif self._ncnn.users(blob) or is_network_output(blob):
                reason = f"ncnn has no layer for one of the results of `{part.operator.type}`"
                raise Refused(Refusal(reason, "leave that result out of the PyTorch model"))
        self._places.extend([part.handle] * (len(self._builder.layers) - len(self._places)))

    def _fold(self, part: Part) -> bool:
        """Whether a part's result depends on no input: then it is stored, or nobody needs it."""
        if len(part.results) != 1:
            return False
        (operand, blob), folding = part.results[0], self._loaded.folding
        if folding.is_inner(operand):
            return True
        numbers, shape = folding.find(operand), self._result_shape(operand)
        if numbers is None or shape is None:
            return False
        layout = self._loaded.batch.layout(operand, shape)
        sizes = shape if isinstance(layout, Refusal) or layout.blob is None else layout.blob
        self._finish(operand, blob, self._builder.view(self._builder.constant(numbers, sizes), shape))
        self._places.extend([part.handle] * (len(self._builder.layers) - len(self._places)))
        return True

    def _keeps_own_layer(self, row: Operator) -> bool:
        """Whether the layers written for the operator in hand hold the row's own, with its weights."""
        return any(layer.type == row.type for layer in self._builder.layers[len(self._places) :])

    def _consume_bytes(self, row: Operator, results: tuple[Value | None, ...]) -> tuple[Value | None, ...]:
        """Multiply by the scale of a Normalize, which stands in the .bin at the row's place.

        All bytes after it would be read one layer too late without. No other layer goes that way.
        """
        size = row.parameter("3")
        if row.type != "Normalize" or size != "1" or len(results) != 1 or results[0] is None:
            reason = f"the weights of {row.type} {row.name} would stay in the .bin without a layer"
            raise Refused(Refusal(reason, "replace the operator in the PyTorch model"))
        scale = self._builder.layer("MemoryData", (), ("0=1",), (1,), (1,))
        shape = results[0].shape
        return (self._builder.view(self._builder.binary("mul", results[0], scale), shape),)

    def _transpose_other(self, operator: Operator, row: Operator) -> None:
        """MatMul 0=1 reads what pnnx's operator transposes before it reads it."""
        other = operator.inputs[1]
        maker = self._pnnx.maker(other)
        if other in self._values:
            return
        if maker is None or maker.type not in TRANSPOSES or len(row.inputs) != 2:
            raise Refused(Refusal(f"what {row.name} transposes is not certain", "report this"))
        base = self.tensor("other", maker.inputs[0], row.inputs[1])
        order = [*range(base.rank - 2), base.rank - 1, base.rank - 2]
        value = self._builder.permute(base, order)
        if value.shape != self._result_shape(other):
            raise Refused(Refusal(f"what {row.name} transposes is not certain", "report this"))
        self._values[other] = value

    def _finish(self, operand: str, blob: str, result: Value) -> None:
        expected = self._result_shape(operand)
        shape = () if expected is None else expected
        if result.shape != shape:
            reason = f"the result should have shape {result.shape}, and the files say {shape}"
            raise Refused(Refusal(reason, "report this with the files"))
        result = replace(result, dtype=self._dtype(operand) or "f32")
        self._values[operand] = result
        if result.dtype not in FLOAT_TYPES | INTEGER_TYPES | {"bool"}:
            reason = f"the result is of type {result.dtype}, of which ncnn has no blobs"
            raise Refused(Refusal(reason, "split complex numbers into two tensors in the PyTorch model"))
        if result.dtype in INTEGER_TYPES and self._loaded.integers.find(operand) is None:
            reason = (
                f"how large the integers ({result.dtype}) get is not certain, and floats hold small ones only"
            )
            raise Refused(Refusal(reason, _INTEGER_HELP))
        if not self._regions.is_blob(operand):
            if self._regions.is_output(operand):
                reason = f"an output of the network holds integers ({result.dtype})"
                raise Refused(Refusal(reason, "convert it with .float() in the PyTorch model"))
            return  # read only within the region
        layout = self._loaded.batch.layout(operand, shape) if shape else Layout((1,))
        if isinstance(layout, Refusal):
            raise Refused(layout)
        plain = self._builder.certain(result)
        if layout.members is not None:
            self._values[operand] = plain
            self._results.append((self._builder.as_members(plain, layout.members).name, blob))
            return
        result = plain
        if not self._reshaped_anyway(blob):
            if layout.blob is None:
                reason = "in which layout later layers expect the result is not certain"
                raise Refused(Refusal(reason, "keep model_ncnn.py beside the ncnn model"))
            result = replace(self._builder.as_blob(result, layout.blob), dtype=result.dtype)
        self._values[operand] = result
        self._results.append((result.name, blob))

    def _dtype(self, operand: str) -> str | None:
        found = self._shapes.find(operand)
        return None if found is None else found[1]

    def _reshaped_anyway(self, blob: str) -> bool:
        """Whether all that reads a blob is a Reshape to sizes of its own."""
        readers = [self._ncnn[handle] for handle in self._ncnn.users(blob)]
        return bool(readers) and all(map(_takes_any_layout, readers))

    def _result_shape(self, operand: str) -> tuple[int, ...] | None:
        found = self._shapes.find(operand)
        if found is None:
            return None
        if found[0] and min(found[0]) < 1:
            raise Refused(Refusal("the result has an axis of unknown or no size", _NO_SHAPE_HELP))
        return found[0]

    # what arguments need

    def tensor(self, name: str, operand: str, blob: str) -> Value:
        """The value of an operand that a row reads as a blob."""
        found = self._shapes.find(operand)
        maker = self._pnnx.maker(operand)
        if maker is not None:
            self._builder.argument_makers.add(maker.type)
        known = self._values.get(operand)
        if known is not None:
            return known
        blob = skip_layout_rows(self._ncnn, blob, self._part)
        if found is None or not found[0]:
            if found is None and not self._shapes.is_scalar(operand):
                raise Refused(Refusal(f"the shape of `{name}` is not in the files", _NO_SHAPE_HELP))
            value = self._constant_of(operand, found) or Value(self._builder, blob, (), (1,))
        else:
            value = self._constant_of(operand, found) or self._shaped(name, operand, blob, *found)
        self._values[operand] = value
        return value

    def _constant_of(self, operand: str, found: Annotation | None) -> Value | None:
        """A stored tensor whose blob holds bytes or int32 bits, which no layer computes with, as floats."""
        maker = self._pnnx.maker(operand)
        if maker is None or maker.type != ATTRIBUTE or found is None or found[1] in FLOAT_TYPES:
            return None
        if found[1] != "bool" and self._loaded.integers.find(operand) is None:
            reason = f"{maker.name} holds {found[1]}, or too large integers, and floats hold small ones only"
            raise Refused(Refusal(reason, _INTEGER_HELP))
        stored = self.stored(maker)
        return replace(self._builder.constant(stored.numbers, stored.shape), dtype=found[1])

    def _shaped(self, name: str, operand: str, blob: str, shape: tuple[int, ...], dtype: str) -> Value:
        if min(shape) < 1:
            raise Refused(Refusal(f"`{name}` has an axis of unknown or no size", _NO_SHAPE_HELP))
        source = self._pnnx.maker(operand)
        bounds = self._loaded.integers.find(operand) if dtype in INTEGER_TYPES else None
        is_index = bounds is not None and source is not None and source.type == "pnnx.Input"
        if dtype not in FLOAT_TYPES and not is_index and not (dtype == "bool" and self._is_computed(operand)):
            what = "complex numbers" if dtype.startswith("c") else "integers"
            reason = f"`{name}` holds {what} ({dtype}), and ncnn's layers compute on floats only"
            raise Refused(Refusal(reason, _INTEGER_HELP))
        maker = self._ncnn.maker(origin(self._ncnn, blob))
        is_stored = maker is not None and maker.type == "MemoryData"
        if not is_stored and not self._regions.is_blob(operand):
            reason = f"`{name}` has {len(shape)} axes, more than a blob of ncnn"
            raise Refused(Refusal(reason, "reduce the rank in the PyTorch model"))
        # pnnx drops axes of stored tensors by a rule of its own, and reshapes what is broadcast.
        uncertain = is_stored or (maker is not None and is_broadcast_row(maker))
        layout = self._loaded.batch.layout(operand, shape)
        if is_stored:
            layout = Layout(None)
        if isinstance(layout, Refusal):
            raise Refused(layout)
        # The Reshape behind a Linear has the Linear's own input as second one, members and all.
        keeps_members = maker is not None and len(maker.inputs) == 2
        if uncertain and layout.members is not None and not keeps_members:
            raise Refused(Refusal(f"how the blob of `{name}` is laid out is not certain", "report this"))
        sizes = None if uncertain else self._confirm(blob, layout.blob)
        value = Value(self._builder, blob, shape, sizes, dtype, layout.members)
        return value if bounds is None else self._numbers(value, bounds[1])

    def indexes(self, name: str, operand: str, blob: str) -> Value | IndexBits:
        """What Embed is to look up: computed integers, or an input of the network as it is."""
        found, maker = self._shapes.find(operand), self._pnnx.maker(operand)
        if operand in self._values or found is None or maker is None or maker.type != "pnnx.Input":
            return self.tensor(name, operand, blob)
        layout = self._loaded.batch.layout(operand, found[0])
        if isinstance(layout, Refusal):
            raise Refused(layout)
        sizes = self._confirm(blob, layout.blob)
        return IndexBits(Value(self._builder, blob, found[0], sizes, found[1], layout.members))

    def _numbers(self, indexes: Value, last: int) -> Value:
        """The integers of an input of the network as floats: from a table of all that it may hold."""
        if indexes.members is not None:
            raise Refused(Refusal("the integers are those of a batch of several", _INTEGER_HELP))
        return replace(self._builder.look_up(indexes, range(last + 1)), dtype=indexes.dtype)

    def check_own_weight(self, operand: str, operator: Operator) -> None:
        """Raise Refused unless an operand is the very tensor that an operator has as its weight."""
        maker = self._pnnx.maker(operand)
        if maker is None or not has_equal_weights(self._loaded, maker, operator):
            reason = f"`{operator.type}` is given a table that is not certainly its own"
            raise Refused(Refusal(reason, "keep model.pnnx.bin beside the ncnn model"))

    def check_finite(self, operator: Operator) -> None:
        """Raise Refused unless a product with 0.0 is 0.0 for all of an operator's weight."""
        if not has_finite_weight(self._loaded, operator):
            reason = f"the weight of {operator.name} is not certainly free of infinities and nan"
            raise Refused(Refusal(reason, "keep model.pnnx.bin beside the ncnn model"))

    def _confirm(self, blob: str, sizes: tuple[int, ...] | None) -> tuple[int, ...] | None:
        """A blob's sizes where the ncnn graph shows that it has as many axes, else None."""
        rank = self._loaded.blobs[blob].rank
        return sizes if sizes is not None and rank == len(sizes) else None

    def _is_computed(self, operand: str) -> bool:
        maker = self._pnnx.maker(operand)
        return maker is not None and maker.type not in {"pnnx.Input", "pnnx.Attribute"}

    def maker(self, operand: str) -> Operator | None:
        return self._pnnx.maker(operand)

    def list_blobs(self, blob: str) -> tuple[str, ...]:
        """The blobs that a leaked list was made of."""
        maker = self._ncnn.maker(blob)
        if maker is None or maker.type not in LISTS | {EXPRESSION}:
            return ()
        if len(self._ncnn.users(blob)) != 1:
            raise Refused(Refusal("two operators read the same list", "report this with the files"))
        return maker.inputs

    def evaluate(self, item: str, inputs: list[Value]) -> Value:
        """An item of a list: `@0`, or the arithmetic that pnnx has put into the list."""
        return evaluate(self._builder, item, inputs)

    def stored(self, attribute: Operator) -> StoredTensor:
        """The numbers of a `pnnx.Attribute`."""
        found = read_stored(self._loaded, attribute)
        if isinstance(found, Refusal):
            raise Refused(found)
        return found

    def index(self, operand: str) -> StoredTensor | None:
        """An item of a list of indexes: a stored tensor or None."""
        maker = self._pnnx.maker(operand)
        if maker is not None and maker.type == ATTRIBUTE:
            return self.stored(maker)
        if maker is not None and maker.type == EXPRESSION and maker.parameter("expr") == "None":
            return None
        reason = "an index is computed while the network runs"
        raise Refused(Refusal(reason, "make it a constant in the PyTorch model"))

    def settle(self, name: str) -> Number | Refusal:
        return self._settle(name)


def _takes_any_layout(reader: Operator) -> bool:
    """Whether a layer is a Reshape of a plain blob to sizes of its own."""
    if reader.type != "Reshape" or len(reader.inputs) != 1:
        return False
    words = dict(word.split("=", 1) for word in reader.rest if "=" in word)
    expression = words.pop("6", "1").strip('"')
    return (
        words.pop("12", "233") == "233"
        and words.pop("13", "233").isdigit()
        and words.keys() <= {"0", "1", "2", "11"}
        and all(size.isdigit() for size in (*words.values(), *expression.split(",")))
    )
