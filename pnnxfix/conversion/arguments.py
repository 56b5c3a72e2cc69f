"""pnnx's own arguments, checked before pnnx sees them: it passes over what it does not understand."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from pnnxfix.codecs.torchscript_archive import Archive
from pnnxfix.errors import ParseError, PnnxfixError

OUTPUTS = {
    "pnnxparam": "{}.pnnx.param",
    "pnnxbin": "{}.pnnx.bin",
    "pnnxpy": "{}_pnnx.py",
    "pnnxonnx": "{}.pnnx.onnx",
    "ncnnparam": "{}.ncnn.param",
    "ncnnbin": "{}.ncnn.bin",
    "ncnnpy": "{}_ncnn.py",
}
"""pnnx's options for its files, and their names where they are not given."""

_KEYS = (*OUTPUTS, "fp16", "optlevel", "device", "inputshape", "inputshape2", "input", "input2",
         "customop", "moduleop")  # fmt: skip
_FILES = ("input", "input2", "customop")
TYPES = {
    "f32": "float32", "f64": "float64", "f16": "float16", "bf16": "bfloat16", "u8": "uint8", "i8": "int8",
    "i16": "int16", "i32": "int32", "i64": "int64", "c32": "complex32", "c64": "complex64",
    "c128": "complex128",
}  # fmt: skip
"""pnnx's names of types, and PyTorch's."""
_TYPES = "|".join(TYPES)
_SHAPE = rf"\[\d+(?:,\d+)*\](?:{_TYPES})?"
_SHAPES = re.compile(rf"{_SHAPE}(?:,{_SHAPE})*")
_VALUES = {"fp16": ("0", "1"), "optlevel": ("0", "1", "2"), "device": ("cpu", "gpu")}
_HOW_TO_SAVE = "save it with torch.jit.trace(model.eval(), inputs).save(path)"
_TRACED_SINCE = "20241223"


@dataclass(frozen=True, slots=True)
class Arguments:
    """What pnnx is given: the model, and its options as the user spelled them.

    `spelled` maps each of OUTPUTS to the path as pnnx would write it into its Python files.
    """

    model: Path
    options: Mapping[str, str] = field(default_factory=dict)
    spelled: Mapping[str, str] = field(default_factory=dict)

    @property
    def stem(self) -> Path:
        """The path that the ncnn files share, as `check` finds them."""
        path = self.spelled["ncnnparam"]
        return Path(path.removesuffix(".ncnn.param").removesuffix(".param"))

    @property
    def shapes(self) -> list[tuple[list[int], str]]:
        """Sizes and type (`float32`) of each input, as inputshape= states them."""
        found = re.findall(rf"\[([\d,]+)\]({_TYPES})?", self.options.get("inputshape", ""))
        return [([int(size) for size in sizes.split(",")], TYPES[kind or "f32"]) for sizes, kind in found]

    @property
    def log(self) -> Path:
        """Where pnnx's console is kept."""
        return Path(f"{self.stem}.pnnx.log")


def read_arguments(words: Sequence[str]) -> Arguments:
    """Read `model.pt key=value ...`. Raises PnnxfixError for everything that pnnx would pass over."""
    if not words:
        raise PnnxfixError("no model: pnnxfix convert model.pt inputshape=[1,3,224,224]")
    model, *rest = words
    options: dict[str, str] = {}
    for word in rest:
        key, equals, value = word.partition("=")
        if not equals:
            raise PnnxfixError(f"{word!r} is not KEY=VALUE; a shape is written without spaces, [1,3,8,8]")
        if key not in _KEYS:
            near = get_close_matches(key, _KEYS, 1)
            hint = f"; did you mean {near[0]}=?" if near else ""
            raise PnnxfixError(f"pnnx has no argument {key!r}{hint}")
        if key in options:
            raise PnnxfixError(f"{key}= is given twice")
        options[key] = value
    _check_values(options)
    folder, name = os.path.split(model)
    stem = os.path.splitext(name)[0].replace("-", "_")
    spelled = {
        key: options.get(key) or os.path.join(folder, form.format(stem)) for key, form in OUTPUTS.items()
    }
    return Arguments(Path(model), options, spelled)


def _check_values(options: Mapping[str, str]) -> None:
    for key in ("inputshape", "inputshape2"):
        if key in options and not _SHAPES.fullmatch(options[key]):
            raise PnnxfixError(f"{key}={options[key]} is no list of shapes, as in [1,3,224,224]f32,[1,8]i64")
        if key in options and any(int(size) == 0 for size in re.findall(r"\d+(?=[,\]])", options[key])):
            raise PnnxfixError(f"{key}={options[key]} holds an axis of size 0")
    for key, allowed in _VALUES.items():
        if key in options and options[key] not in allowed:
            raise PnnxfixError(f"{key}={options[key]}: it is one of {', '.join(allowed)}")
    for first, second in (("input", "inputshape"), ("input2", "inputshape2")):
        if first in options and second in options:
            raise PnnxfixError(f"{first}= and {second}= cannot be given together")
    if "inputshape2" in options and "inputshape" not in options:
        raise PnnxfixError("inputshape2= needs inputshape=")
    for key in _FILES:
        for path in filter(None, options.get(key, "").split(",")):
            if not os.path.isfile(path):
                raise PnnxfixError(f"{key}={path}: there is no such file")


def check_model(arguments: Arguments, release: str) -> None:
    """See that the model is TorchScript and its inputs are known.

    Raises ParseError for what is no TorchScript archive, PnnxfixError for inputs that nothing states.
    """
    path = arguments.model
    if not path.is_file():
        raise PnnxfixError(f"{path}: there is no such file")
    try:
        Archive(path).close()
    except ParseError as error:
        raise ParseError(error.path, error.line, error.column, f"{error.reason}; {_HOW_TO_SAVE}") from error
    if "inputshape" in arguments.options or "input" in arguments.options:
        return
    if not _states_inputs(path) or (release != "unknown" and release < _TRACED_SINCE):
        raise PnnxfixError(
            f"{path} does not state its inputs to pnnx {release}: give inputshape=[1,3,224,224], the shape"
            " (and type, f32 or i64, say) of each input, without spaces"
        )


def _states_inputs(path: Path) -> bool:
    """Whether the archive holds the inputs that the model was traced with."""
    from zipfile import ZipFile

    with ZipFile(path) as archive:
        return any(name.endswith("/traced_inputs.pkl") for name in archive.namelist())
