"""A leaked operator as its rule sees it, put together from the files of its conversion."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from pnnxfix.codecs.number import Number, read_exact, spell_for_python
from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.splits import EXPRESSION, origin
from pnnxfix.pipeline.leaks import Leak
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.pipeline.values import Conflict, Spelling, Traced, read_given, read_spelling, settle
from pnnxfix.rules.base import OperatorRule, Refusal, Tensor

if TYPE_CHECKING:
    from pnnxfix.codecs.torchscript import TracedCode
    from pnnxfix.graph.blobs import Blob

_TYPE = re.compile(r"\(([0-9?,]*)\)(\w+)\Z")
_NO_ARITHMETIC = re.compile(r"size\(|int\(|\[")  # they make numbers and lists of tensors
_TENSOR_MAKERS = ("torch.", "F.", "nn.", "Tensor.", "pnnx.Input", "pnnx.Attribute", "torchvision.")
_UNKNOWN_KIND = Refusal(
    "whether it is a number or a tensor is not certain from the files",
    "keep model.pnnx.param beside the ncnn model",
)


class TracedConstants:
    """The constants of the TorchScript file beside a conversion, by operator and position."""

    def __init__(self, code: TracedCode, path: str, order: Mapping[str, int]) -> None:
        """`order` counts the rows of each operator; calls are in their order if there are as many."""
        self._path = path
        self._calls: dict[str, list[tuple[str, tuple[Number | None, ...]]]] = {}
        for call in code.calls:
            place = f"{path} ({call.member}:{call.line})"
            numbers = tuple(
                read_exact(argument.text) if argument.is_literal else None for argument in call.arguments
            )
            self._calls.setdefault(call.operator, []).append((place, numbers))
        self._order = order

    def find(self, operator: str, index: int, argument: int) -> Traced | None:
        """What is known of an argument of the operator's row number `index`."""
        calls = self._calls.get(operator, [])
        numbers = [numbers[argument] if argument < len(numbers) else None for _, numbers in calls]
        if not calls:
            return None
        if len(calls) == self._order.get(operator, 0):
            return Traced(calls[index][0], numbers[index], None)
        if any(number is None for number in numbers):
            return None
        return Traced(self._path, None, tuple(number for number in numbers if number is not None))


class LeakCall:
    """Implements `rules.base.Call` for one leak.

    `position` is the leak's place among the rows of its operator; `conflict` is set when two
    sources of a value disagree.
    """

    def __init__(
        self,
        loaded: LoadedConversion,
        leak: Leak,
        rule: OperatorRule,
        position: int,
        traced: TracedConstants | None,
        given: Mapping[str, str],
    ) -> None:
        self._loaded = loaded
        self._leak = leak
        self._rule = rule
        self._position = position
        self._traced = traced
        self._given = given
        self._scalars: dict[str, Number | Refusal] = {}
        self._kinds: dict[str, bool | Refusal] = {}
        self.conflict: Conflict | None = None
        self._pnnx = None if leak.pnnx is None or loaded.pnnx is None else loaded.pnnx.graph[leak.pnnx]
        self._ncnn = None if leak.ncnn is None or loaded.ncnn is None else loaded.ncnn.graph[leak.ncnn]
        self._indexes = self._bind()
        words = () if self._pnnx is None else reversed(self._pnnx.rest)  # the first of an operand counts
        self._annotations = {
            word[1 : word.index("=")]: word for word in words if word[0] == "#" and "=" in word
        }

    def _bind(self) -> dict[str, int]:
        """The position of each argument among the row's inputs."""
        if self._pnnx is not None:
            named = [
                word[1:].split("=", 1) for word in self._pnnx.rest if word.startswith("$") and "=" in word
            ]
            if named:
                inputs = self._pnnx.inputs
                return {name: inputs.index(operand) for name, operand in named if operand in inputs}
        elif "::" not in self._rule.operator:
            return {}  # only .pnnx.param names the inputs of a converted operator
        row = self._pnnx or self._ncnn
        given = self._rule.arguments if row is None else self._rule.arguments[: len(row.inputs)]
        return {name: at for at, name in enumerate(given)}

    @property
    def operator(self) -> Operator:
        row = self._pnnx or self._ncnn
        assert row is not None
        return row

    def has(self, argument: str) -> bool:
        return argument in self._indexes

    # the operands of an argument, in each of the files

    def operand(self, argument: str) -> str:
        assert self._pnnx is not None
        return self._pnnx.inputs[self._indexes[argument]]

    def blob(self, argument: str) -> str:
        assert self._ncnn is not None
        return self._ncnn.inputs[self._indexes[argument]]

    def _python_argument(self, argument: str) -> str | None:
        if self._leak.python is None:
            return None
        arguments = self._leak.python.arguments
        at = self._indexes.get(argument)
        return None if at is None or at >= len(arguments) else arguments[at]

    def annotation(self, argument: str) -> str | None:
        if self._pnnx is None:
            return None
        operand = self._pnnx.outputs[0] if argument == "return" else self.operand(argument)
        return self._annotations.get(operand)

    # tensors

    def is_tensor(self, argument: str) -> bool | Refusal:
        if argument not in self._kinds:
            self._kinds[argument] = self._find_kind(argument)
        return self._kinds[argument]

    def _find_kind(self, argument: str) -> bool | Refusal:
        if self.annotation(argument) is not None:
            return True
        if self._pnnx is not None and self._loaded.pnnx is not None:
            maker = self._loaded.pnnx.graph.maker(self.operand(argument))
            if maker is not None:
                return _makes_tensor(self._loaded.pnnx.graph, maker)
        source = self._python_argument(argument)
        if source is not None and self._loaded.python is not None:
            known = self._loaded.python.constants.get(source)
            if known is not None and read_spelling(known.text, "") is not None:
                return False
        if self._ncnn is not None and self._loaded.ncnn is not None:
            graph = self._loaded.ncnn.graph
            maker = graph.maker(origin(graph, self.blob(argument)))
            if maker is not None and maker.type == EXPRESSION:
                return _UNKNOWN_KIND if maker.inputs else False
            if maker is not None and "::" not in maker.type:
                return True  # a blob of ncnn is a tensor; numbers stay in Expressions
        return _UNKNOWN_KIND

    def tensor(self, argument: str) -> Tensor:
        word = self.annotation(argument) or self._stored(argument)
        shape, dtype = _read_type(word.partition("=")[2]) if word else (None, None)
        if self._ncnn is None or argument == "return":
            return Tensor(shape, dtype)
        return Tensor(shape, dtype, lambda: self._describe_blob(argument, shape is not None))

    def _describe_blob(self, argument: str, has_shape: bool) -> Blob:
        """What the layers before a blob tell of it; for a layout that they do not tell, pnnx's graph."""
        blob = self._loaded.blobs[self.blob(argument)]
        if not has_shape or self._pnnx is None or blob.batch_axis is not None or blob.dims is not None:
            return blob
        return blob._replace(batch_axis=self._loaded.batch.left_out(self.operand(argument)))

    def _stored(self, argument: str) -> str | None:
        """A stored tensor's `@data=(shape)type`: a 0-dim one has no other annotation."""
        if self._pnnx is None or self._loaded.pnnx is None or argument == "return":
            return None
        maker = self._loaded.pnnx.graph.maker(self.operand(argument))
        if maker is None or maker.type != "pnnx.Attribute":
            return None
        return next((word for word in maker.rest if word.startswith("@data=")), None)

    # constants

    def constant_arguments(self) -> list[str]:
        """The arguments that are numbers."""
        return [name for name in self._indexes if self.is_tensor(name) is False]

    def scalar(self, argument: str) -> Number | Refusal:
        if argument not in self._scalars:
            self._scalars[argument] = self._settle(argument)
        return self._scalars[argument]

    def text(self, argument: str) -> str:
        if self.is_tensor(argument) is False:
            number = self.scalar(argument)
            if isinstance(number, Number):
                return spell_for_python(number.text, number.value)
        return self._python_argument(argument) or argument

    def _settle(self, argument: str) -> Number | Refusal:
        if argument not in self._indexes:
            return Refusal(
                f"which input is `{argument}` is not certain", "keep model.pnnx.param beside the ncnn model"
            )
        spelling = traced = None
        if self._given:
            given = (self._given.get(name) for name in self._names(argument))
            spelling = next((read_given(text) for text in given if text is not None), None)
        if self._traced is not None and self._position >= 0:
            traced = self._traced.find(self._leak.type, self._position, self._indexes[argument])
        result = settle(spelling, self._spellings(argument), traced, lambda: self._name(argument))
        if isinstance(result, Conflict):
            self.conflict = result
            return Refusal(
                f"two sources disagree: {result.reason}",
                f"find out which is right and give it with `--value {self._name(argument)}=NUMBER`",
            )
        if isinstance(result, Number) and result.looks_rounded:
            self._loaded.notes.append(
                f"{self._leak.type} {self._leak.name}: {argument} is {result.text}, as pnnx rounded it; with "
                "the TorchScript file (model.pt) beside the output it would be exact"
            )
        return result

    def _spellings(self, argument: str) -> list[Spelling]:
        """How each of the files prints a constant."""
        printed: list[Spelling | None] = []
        loaded = self._loaded
        if self._pnnx is not None and loaded.pnnx is not None:
            operand = self.operand(argument)
            maker = loaded.pnnx.graph.maker(operand)
            if maker is not None and maker.type == EXPRESSION:
                place = f"{loaded.pnnx.file.path}:{(loaded.pnnx.graph.producer(operand) or 0) + 1}"
                printed.append(read_spelling(maker.parameter("expr"), place))
        source = self._python_argument(argument)
        if source is not None and loaded.python is not None:
            known = loaded.python.constants.get(source)
            if known is not None:
                printed.append(read_spelling(known.text, f"{loaded.python.path}:{known.line + 1}"))
        if loaded.consoles and (maker := self._ncnn_source(argument)) is not None:
            printed.extend(self._logged(maker.name))
        return [spelling for spelling in printed if spelling is not None]

    def _name(self, argument: str) -> str:
        return next(iter(self._names(argument)), "BLOB")

    def _names(self, argument: str) -> list[str]:
        """The names that `--value` may use for a constant, best first."""
        names: list[str] = []
        if self._pnnx is not None and self._loaded.pnnx is not None:
            operand = self.operand(argument)
            maker = self._loaded.pnnx.graph.maker(operand)
            names += [maker.name] if maker is not None and maker.type == EXPRESSION else []
            names += [f"v_{operand}"] if self._ncnn is not None else [f"v_{operand}", operand]
        source = self._python_argument(argument)
        names += [] if source is None else [source]
        if self._ncnn is not None and self._loaded.ncnn is not None:
            blob = self.blob(argument)
            names += [blob, origin(self._loaded.ncnn.graph, blob)]
            maker = self._ncnn_source(argument)
            names[:0] = [maker.name] if maker is not None and maker.name not in names else []
        return names

    def _ncnn_source(self, argument: str) -> Operator | None:
        """The Expression of the ncnn graph that makes a constant."""
        if self._ncnn is None or self._loaded.ncnn is None:
            return None
        graph = self._loaded.ncnn.graph
        maker = graph.maker(origin(graph, self.blob(argument)))
        return maker if maker is not None and maker.type == EXPRESSION else None

    def _logged(self, name: str) -> list[Spelling | None]:
        found = []
        for path, console in self._loaded.consoles:
            for parameter in console.ignored.get((EXPRESSION, name), ()):
                if parameter.key == "expr":
                    found.append(read_spelling(parameter.value, f"{path}:{parameter.line}"))
        return found


@lru_cache(maxsize=1024)
def _read_type(text: str) -> tuple[tuple[int, ...] | None, str | None]:
    """Shape and type of `(1,3,8,8)f32`, with -1 for a size that is not stated."""
    match = _TYPE.match(text)
    if match is None:
        return None, None
    return tuple(-1 if size == "?" else int(size) for size in match[1].split(",") if size), match[2]


def _makes_tensor(graph: Graph, maker: Operator) -> bool | Refusal:
    if maker.type != EXPRESSION:
        return True if maker.type.startswith(_TENSOR_MAKERS) else _UNKNOWN_KIND
    expression = maker.parameter("expr") or ""
    if not maker.inputs and read_spelling(expression, "") is not None:
        return False
    if _NO_ARITHMETIC.search(expression):
        return _UNKNOWN_KIND
    makers = filter(None, (graph.maker(name) for name in maker.inputs))
    is_tensor = any(one.type != EXPRESSION and _makes_tensor(graph, one) is True for one in makers)
    return True if is_tensor else _UNKNOWN_KIND
