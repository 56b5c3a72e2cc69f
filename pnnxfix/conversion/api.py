"""`export` and `convert` as the package pnnx has them; what comes back is repaired first.

Source of the signatures: pnnx/utils/export.py and convert.py, releases 20260409 and 20261020.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnnxfix.conversion.arguments import OUTPUTS, TYPES, read_arguments
from pnnxfix.conversion.blame import Culprit
from pnnxfix.conversion.convert import Request, convert_model
from pnnxfix.conversion.outcome import ConvertReport
from pnnxfix.errors import PnnxfixError

if TYPE_CHECKING:
    import torch

    Inputs = torch.Tensor | Sequence[torch.Tensor]
    Shapes = Sequence[int] | Sequence[Sequence[int]]
    Words = str | Sequence[str]

# What is not here pnnx takes for f32.
_TYPES = {name: short for short, name in TYPES.items()}


class ConversionFailed(PnnxfixError):
    """No model came out; `report` says why."""

    def __init__(self, message: str, report: ConvertReport) -> None:
        self.report = report
        super().__init__(message)


def export(
    model: torch.nn.Module,
    ptpath: str,
    inputs: Inputs | None = None,
    inputs2: Inputs | None = None,
    input_shapes: Shapes | None = None,
    input_types: Words | None = None,
    input_shapes2: Shapes | None = None,
    input_types2: Words | None = None,
    device: str | None = None,
    customop: Words | None = None,
    moduleop: Words | None = None,
    optlevel: int | None = None,
    pnnxparam: str | None = None,
    pnnxbin: str | None = None,
    pnnxpy: str | None = None,
    pnnxonnx: str | None = None,
    ncnnparam: str | None = None,
    ncnnbin: str | None = None,
    ncnnpy: str | None = None,
    check_trace: bool = True,
    fp16: bool = True,
) -> torch.nn.Module:
    """Trace `model`, save it as `ptpath`, convert it, and give the network of the repaired `_pnnx.py`.

    Without `inputs` the model is traced with random ones of `input_shapes` and `input_types`.
    Raises and warns as `convert`.
    """
    import torch

    if inputs is None and input_shapes is None:
        raise PnnxfixError("inputs or input_shapes should be specified")
    if inputs is None:
        inputs = _make_inputs(_list_shapes(input_shapes), _list_words(input_types))
    model.eval()
    example = inputs if isinstance(inputs, torch.Tensor) else tuple(inputs)
    traced = torch.jit.trace(model, example, check_trace=check_trace)  # type: ignore[no-untyped-call]
    traced.save(ptpath)
    return convert(
        ptpath, inputs, inputs2, None, None, input_shapes2, input_types2, device, customop, moduleop,
        optlevel, pnnxparam, pnnxbin, pnnxpy, pnnxonnx, ncnnparam, ncnnbin, ncnnpy, fp16,
    )  # fmt: skip


def convert(
    ptpath: str,
    inputs: Inputs | None = None,
    inputs2: Inputs | None = None,
    input_shapes: Shapes | None = None,
    input_types: Words | None = None,
    input_shapes2: Shapes | None = None,
    input_types2: Words | None = None,
    device: str | None = None,
    customop: Words | None = None,
    moduleop: Words | None = None,
    optlevel: int | None = None,
    pnnxparam: str | None = None,
    pnnxbin: str | None = None,
    pnnxpy: str | None = None,
    pnnxonnx: str | None = None,
    ncnnparam: str | None = None,
    ncnnbin: str | None = None,
    ncnnpy: str | None = None,
    fp16: bool = True,
) -> torch.nn.Module:
    """Convert the TorchScript file `ptpath` and give the network of the repaired `_pnnx.py`.

    Raises ConversionFailed where pnnx dies or its Python cannot be repaired, PnnxfixError for bad
    input. Warns where the ncnn model does not work or the numbers differ; the message says how.
    """
    words = [str(ptpath), f"optlevel={2 if optlevel is None else optlevel}", f"device={device or 'cpu'}"]
    words += _spell_inputs("inputshape", inputs, input_shapes, input_types)
    words += _spell_inputs("inputshape2", inputs2, input_shapes2, input_types2)
    for key, value in (("customop", customop), ("moduleop", moduleop)):
        if value:
            words.append(f"{key}={','.join(_list_words(value))}")
    paths = (pnnxparam, pnnxbin, pnnxpy, pnnxonnx, ncnnparam, ncnnbin, ncnnpy)
    words += [f"{key}={path}" for key, path in zip(OUTPUTS, paths, strict=True) if path is not None]
    if not fp16:
        words.append("fp16=0")
    arguments = read_arguments(words)
    report = convert_model(Request(arguments))
    return _import_network(Path(arguments.spelled["pnnxpy"]), report)


def _import_network(path: Path, report: ConvertReport) -> torch.nn.Module:
    attempt = report.kept
    if attempt is None or attempt.report is None:
        culprit = report.attempts[0].culprit or Culprit("")
        name = culprit.operator or "an operator that was not found"
        where = f" at {culprit.source}" if culprit.source else ""
        raise ConversionFailed(f"{report.model}: pnnx dies of {name}{where}; {culprit.cure}", report)
    python = attempt.judged.find("python") if attempt.judged is not None else None
    if not report.works:
        ncnn = attempt.judged.find("ncnn") if attempt.judged is not None else None
        said = "; ".join(finding.message for finding in attempt.report.findings)
        said = said or (ncnn.message if ncnn is not None else "it could not be compared")
        warnings.warn(f"{report.model}: the ncnn model does not work: {said}", stacklevel=3)
    if python is not None and python.state == "differs":
        warnings.warn(f"{report.model}: {path.name} differs from the model: {python.message}", stacklevel=3)
    name = str(path.with_suffix(""))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        network: torch.nn.Module = module.Model()
        return network
    except Exception as error:
        del sys.modules[name]
        reason = f"{type(error).__name__}: {error}"
        raise ConversionFailed(f"{path} cannot be imported: {reason}", report) from error


def _spell_inputs(key: str, inputs: Inputs | None, shapes: Shapes | None, types: Words | None) -> list[str]:
    import torch

    if inputs is not None:
        tensors = [inputs] if isinstance(inputs, torch.Tensor) else list(inputs)
        sizes: list[Sequence[int]] = [list(one.shape) for one in tensors]
        kinds = [_TYPES.get(str(one.dtype).removeprefix("torch."), "f32") for one in tensors]
    elif shapes:
        sizes, kinds = _list_shapes(shapes), _list_words(types)
        if len(sizes) != len(kinds):
            raise PnnxfixError(f"{len(sizes)} shapes and {len(kinds)} types: give one type for each shape")
    else:
        return []
    pairs = zip(sizes, kinds, strict=True)
    return [f"{key}=" + ",".join(f"[{','.join(map(str, size))}]{kind}" for size, kind in pairs)]


def _list_shapes(shapes: Any) -> list[Sequence[int]]:
    return [shapes] if shapes and isinstance(shapes[0], int) else list(shapes or ())


def _list_words(words: Words | None) -> list[str]:
    return [words] if isinstance(words, str) else list(words or ())


def _make_inputs(shapes: Sequence[Sequence[int]], types: Sequence[str]) -> list[torch.Tensor]:
    import torch

    dtypes = {short: getattr(torch, name) for short, name in TYPES.items()}
    if len(shapes) != len(types) or any(kind not in dtypes for kind in types):
        raise PnnxfixError("input_types holds one of f32, i64, ... for each shape in input_shapes")
    made = []
    for size, kind in zip(shapes, types, strict=True):
        # Zeros are in range wherever integers are indices.
        make = torch.rand if kind[0] in "fbc" else torch.zeros
        made.append(make(tuple(size)).to(dtypes[kind]))
    return made
