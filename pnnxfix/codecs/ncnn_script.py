"""The generated `_ncnn.py`: the only file that tells how tensors become ncnn blobs.

Lines of interest, by release:
    in0 = torch.rand(1, 3, 8, 8, dtype=torch.float)
    in0 = torch.randint(10, (1, 16), dtype=torch.int)
    ex.input("in0", ncnn.Mat(in0.squeeze(0).numpy()).clone())             through 20260409
    ex.input("in0", ncnn.Mat(in0.numpy(), batch_index=0).clone())         20261020
    out.append(torch.from_numpy(np.array(out0)).unsqueeze(0))             through 20260409
    out.append(torch.from_numpy(out0.numpy(batch_index=0)))               20261020
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

NO_BATCH = 233
"""pnnx's number for "no axis of this tensor is the batch": the blob keeps all axes."""

_TENSOR = re.compile(
    r"^[ \t]*(\w+) = torch\.(?:rand|randn|randint\(\d+,|ones|zeros)[( ]([^\n]*)\)[ \t\r]*$", re.MULTILINE
)
_INPUT = re.compile(r'ex\.input\("([^"\n]{1,255})", ncnn\.Mat\((\w+)([^\n]*)\)')
_OUTPUT = re.compile(r"out\.append\(torch\.from_numpy\(([^\n]*)\)")
_SEED = re.compile(r"^([ \t]*)torch\.manual_seed\(0\)(\r?\n)", re.MULTILINE)
_EXTRACTOR = re.compile(r"^([ \t]*)with net\.create_extractor\(\) as ex:(\r?\n)", re.MULTILINE)
_BATCH_INDEX = re.compile(r"batch_index=(-?\d{1,4})")
_SQUEEZED = re.compile(r"\.(?:un)?squeeze\((-?\d{1,4})\)")
_DTYPE = re.compile(r"dtype=torch\.(\w+)")
_NAME = re.compile(r"[A-Za-z_]\w*")

_LONGEST_LINE = 10_000  # the patterns above look to the end of the line from each of their beginnings

INTEGER_DTYPES = frozenset({"long", "int", "short", "uint8", "int8", "int16", "int32", "int64", "bool"})


class ScriptInput(NamedTuple):
    """One input that the script feeds: torch shape, torch dtype name, and the batch axis or 233."""

    shape: tuple[int, ...]
    dtype: str
    batch_axis: int


class OutputBlob(NamedTuple):
    """A blob that the script is to extract, the variable that holds it, and its batch axis or 233."""

    blob: str
    variable: str
    batch_axis: int


class NcnnScript(NamedTuple):
    """What the script says about the network's inputs and outputs, by blob name.

    `has_members`: it feeds batches of any size, so blobs may hold several members of a batch.
    """

    inputs: dict[str, ScriptInput]
    outputs: dict[str, int]
    has_members: bool = False


def read_ncnn_script(text: str) -> NcnnScript:
    """Read the statements above; what does not look like them is passed over, as is a longer line."""
    text = "\n".join(line for line in text.split("\n") if len(line) <= _LONGEST_LINE)
    tensors: dict[str, tuple[tuple[int, ...], str]] = {}
    for match in _TENSOR.finditer(text):
        sizes = match[2].split("dtype=")[0].replace("(", " ").replace(")", " ")
        words = [word.strip() for word in sizes.split(",") if word.strip()]
        shape = tuple(int(word) for word in words if word.isdecimal() and len(word) < 10)
        dtype = _DTYPE.search(match[2])
        tensors[match[1]] = (shape, dtype[1] if dtype else "float")
    inputs: dict[str, ScriptInput] = {}
    for match in _INPUT.finditer(text):
        if match[2] in tensors:
            shape, dtype_name = tensors[match[2]]
            inputs[match[1]] = ScriptInput(shape, dtype_name, _batch_axis(match[3]))
    outputs: dict[str, int] = {}
    for match in _OUTPUT.finditer(text):
        name = next((word for word in _NAME.findall(match[1]) if word not in {"np", "array"}), None)
        if name is not None:
            outputs[name] = _batch_axis(match[1] + text[match.end() : text.find("\n", match.end())])
    return NcnnScript(inputs, outputs, "batch_index=" in text)


def _batch_axis(text: str) -> int:
    match = _BATCH_INDEX.search(text) or _SQUEEZED.search(text)
    return int(match[1]) if match else NO_BATCH


def add_input(text: str, name: str, shape: tuple[int, ...], batch_axis: int) -> str | None:
    """The script with one more input that it makes and feeds; None where it is not as pnnx writes it.

    Lines keep their ends. `batch_axis` is the torch axis that the blob leaves out, or NO_BATCH.
    """
    seed = _SEED.search(text)
    extractor = _EXTRACTOR.search(text)
    if seed is None or extractor is None or seed.end() > extractor.start():
        return None
    sizes = "".join(f"{size}, " for size in shape)
    make = f"{seed[1]}{name} = torch.rand({sizes}dtype=torch.float){seed[2]}"
    if "batch_index=" in text:
        mat = f"ncnn.Mat({name}.numpy(), batch_index={batch_axis})"
    else:
        squeeze = "" if batch_axis == NO_BATCH else f".squeeze({batch_axis})"
        mat = f"ncnn.Mat({name}{squeeze}.numpy())"
    feed = f'{extractor[1]}    ex.input("{name}", {mat}.clone()){extractor[2]}'
    middle = text[seed.end() : extractor.end()]
    return f"{text[: seed.end()]}{make}{middle}{feed}{text[extractor.end() :]}"


def replace_outputs(text: str, gone: Sequence[str], blobs: Sequence[OutputBlob]) -> str | None:
    """The script with other blobs in the place of some outputs; None where it is not as pnnx writes it.

    Lines keep their ends. With the last output of a network gone, the blobs stand where the first was.
    """
    start = None
    for name in gone:
        extract = rf"^([ \t]*)_, {name} = ex\.extract\(\"{name}\"\)(\r?\n)"
        pair = re.compile(rf"{extract}[ \t]*out\.append\([^\n]*\b{name}\b[^\n]*\n", re.MULTILINE)
        match = pair.search(text)
        if match is None:
            return None
        start = match if start is None else start
        new = _extract_all(blobs, match[1], match[2], "batch_index=" in text) if match is start else ""
        text = text[: match.start()] + new + text[match.end() :]
    return text


def _extract_all(blobs: Sequence[OutputBlob], indent: str, end: str, knows_batch: bool) -> str:
    lines = []
    for one in blobs:
        if knows_batch:
            tensor = f"torch.from_numpy({one.variable}.numpy(batch_index={one.batch_axis}))"
        else:
            unsqueeze = "" if one.batch_axis == NO_BATCH else f".unsqueeze({one.batch_axis})"
            tensor = f"torch.from_numpy(np.array({one.variable})){unsqueeze}"
        lines += [f'_, {one.variable} = ex.extract("{one.blob}")', f"out.append({tensor})"]
    return "".join(f"{indent}{line}{end}" for line in lines)
