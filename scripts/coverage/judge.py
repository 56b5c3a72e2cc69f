"""The verdicts on a conversion: does its Python, does its ncnn network agree with PyTorch?

Each function runs in a child of its own (`isolate`): generated code may do anything, and ncnn crashes.
"""

from __future__ import annotations

import os
import re
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import ncnn
import numpy as np
import torch

from pnnxfix.codecs.ncnn_script import NO_BATCH, read_ncnn_script
from scripts.coverage.compare import Tolerance, differ_in_values, find_difference, flatten, to_real
from scripts.coverage.corpus import Case
from scripts.coverage.isolate import Died, run_isolated

SECONDS = 60
PYTHON_TOLERANCE = Tolerance(1e-4, 1e-5)
NCNN_TOLERANCE = Tolerance(1e-3, 1e-4)
WEIGHTS_TOLERANCE = Tolerance(1e-3, 1e-4, of_tensor=True)
"""For ncnn networks whose weights pnnx stores as half floats, as it does by default."""

HALF_FLOATS = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage")
"""What is off, since PyTorch's numbers are fp32.

By default ncnn keeps the weights of InnerProduct as half floats on x86 with F16C (innerproduct_x86.cpp),
and on ARM those of more layers and blobs: a thousandth of an output. `verify` turns the same off.
"""

REFERENCE_SEEDS = range(4)
PYTHON_STATES = ("ok", "wrong", "syntax", "error", "none")
NCNN_STATES = ("ok", "wrong", "unloadable", "error", "crash", "none")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One of the states above, and what is the matter."""

    state: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """A conversion's Python and ncnn; `not_comparable` is why no numbers can be compared, "" if they can."""

    python: Verdict
    ncnn: Verdict
    not_comparable: str = ""


def judge_all(
    cases: Sequence[Case],
    jobs: int,
    progress: Callable[[str, int, int], None],
    references: Mapping[str, str] | None = None,
) -> dict[str, Verdicts]:
    """The verdicts by case. `references` says which cases are comparable, if that is known already."""
    # One thread: OpenMP's pool does not survive a fork.
    torch.set_num_threads(1)
    kinds: dict[str, Callable[[Case], object]] = {"python": judge_python, "ncnn": judge_ncnn}
    if references is None:
        kinds["reference"] = judge_reference
    tasks = [(f"{kind} {case.name}", partial(judge, case)) for case in cases for kind, judge in kinds.items()]
    found: dict[str, object] = {}
    for at, (name, outcome) in enumerate(run_isolated(tasks, jobs, SECONDS), 1):
        progress("judge", at, len(tasks))
        found[name] = outcome
    verdicts: dict[str, Verdicts] = {}
    for case in cases:
        known = found[f"reference {case.name}"] if references is None else references[case.name]
        verdicts[case.name] = Verdicts(
            _verdict(found[f"python {case.name}"], "error"),
            _verdict(found[f"ncnn {case.name}"], "crash"),
            f"PyTorch: {known.reason}" if isinstance(known, Died) else str(known),
        )
    return verdicts


def _verdict(outcome: object, death: str) -> Verdict:
    if isinstance(outcome, Died):
        return Verdict(death, outcome.reason)
    assert isinstance(outcome, Verdict)
    return outcome


def judge_reference(case: Case) -> str:
    """Why no result of this model can be compared, "" where one can.

    The TorchScript model runs with several seeds and, every second time, with new memory filled with nan:
    what depends on either has no right answer.
    """
    warnings.filterwarnings("ignore")
    inputs, want = case.load_tensors()
    model = torch.jit.load(str(case.script))  # type: ignore[no-untyped-call]
    for seed in REFERENCE_SEEDS:
        torch.manual_seed(seed)
        # Fills new memory with nan. `use_deterministic_algorithms` would, too, and import all of inductor.
        torch.set_deterministic_debug_mode("warn" if seed % 2 else "default")
        with torch.no_grad():
            got = flatten(model(*(tensor.clone() for tensor in inputs)))
        if len(got) != len(want):
            return f"model.pt has {len(got)} outputs, and {len(want)} are stored"
        if find_difference(got, want, PYTHON_TOLERANCE):
            return "its result changes from run to run"
    return ""


def judge_python(case: Case) -> Verdict:
    """Run `model_pnnx.py` as its own `test_inference` does, on the stored inputs."""
    warnings.filterwarnings("ignore")
    if not case.python.exists():
        return Verdict("none")
    try:
        code = compile(case.python.read_text(encoding="utf-8"), case.python.name, "exec")
    except SyntaxError as error:
        text = (error.text or "").strip()
        return Verdict("syntax", f"`{text}`" if text else str(error.msg))
    inputs, want = case.load_tensors()
    os.chdir(case.folder)  # the file opens its weights by a path from where pnnx ran
    try:
        scope: dict[str, Any] = {"__name__": "converted"}
        exec(code, scope)
        torch.manual_seed(0)
        network = scope["Model"]().float().eval()
        with torch.no_grad():
            got = flatten(network(*(tensor.clone() for tensor in inputs)))
    except Exception as error:
        return Verdict("error", f"{type(error).__name__}: {_first_line(str(error))}")
    difference = find_difference(got, want, PYTHON_TOLERANCE)
    return Verdict("wrong", difference) if difference else Verdict("ok")


def judge_ncnn(case: Case, *, is_default: bool = False) -> Verdict:
    """Load and run the ncnn network; `model_ncnn.py` says which axis of a tensor is the batch.

    `is_default` leaves ncnn's options as they are, half floats included.
    """
    if not case.ncnn_param.exists():
        return Verdict("none")
    inputs, want = case.load_tensors()
    text = case.ncnn_script.read_text(encoding="utf-8") if case.ncnn_script.exists() else ""
    with tempfile.TemporaryFile() as log, ncnn.Net() as net:
        os.dup2(log.fileno(), 2)
        net.opt.num_threads = 1
        for option in () if is_default else HALF_FLOATS:
            setattr(net.opt, option, False)
        if net.load_param(str(case.ncnn_param)) != 0 or net.load_model(str(case.ncnn_bin)) != 0:
            log.seek(0)
            return Verdict("unloadable", _first_line(log.read().decode("utf-8", "replace")))
        try:
            has_halves = (is_default or case.has_half_weights) and case.ncnn_bin.stat().st_size
            tolerance = WEIGHTS_TOLERANCE if has_halves else NCNN_TOLERANCE
            return _run_network(net, text, inputs, want, tolerance)
        except Exception as error:
            return Verdict("error", f"{type(error).__name__}: {_first_line(str(error))}")


def _run_network(
    net: Any, script: str, inputs: Sequence[Any], want: Sequence[Any], tolerance: Tolerance
) -> Verdict:
    axes = read_ncnn_script(script)
    feeds = set(net.input_names())
    with net.create_extractor() as extractor:
        for at, tensor in enumerate(inputs):
            name = f"in{at}"
            if name in feeds:  # not there where the network does not need it
                axis = axes.inputs[name].batch_axis if name in axes.inputs else NO_BATCH
                array = _to_array(tensor)  # a Mat borrows its memory
                extractor.input(name, ncnn.Mat(array, batch_index=axis).clone())
        for at, theirs in enumerate(want):
            name = f"out{at}"
            if name not in net.output_names():
                return Verdict("error", f"it has no {name}")
            code, mat = extractor.extract(name)
            if code != 0 or mat.dims == 0:
                return Verdict("error", f"{name} cannot be extracted (code {code})")
            mine = mat.numpy(batch_index=axes.outputs.get(name, NO_BATCH)).copy()
            if difference := differ_from_blob(mine, theirs, tolerance):
                return Verdict("wrong", f"{name} {difference}")
    return Verdict("ok")


def _to_array(tensor: Any) -> Any:
    narrow = {torch.int64: torch.int32, torch.float64: torch.float32}.get(tensor.dtype, tensor.dtype)
    return np.ascontiguousarray(tensor.to(narrow).numpy())


def differ_from_blob(mine: Any, want: Any, tolerance: Tolerance) -> str:
    """What differs in an ncnn output, "" where nothing does; axes of size one do not count.

    Blobs have no 0-dim shape, and pnnx drops axes of one.
    """
    theirs = to_real(want).squeeze()
    got = torch.from_numpy(mine).squeeze()
    if got.shape != theirs.shape:
        return f"has shape {mine.shape}, want {tuple(want.shape)}"
    difference = differ_in_values(got, theirs, tolerance)
    is_float = want.is_floating_point() or want.is_complex()
    if difference and not is_float and mine.dtype == np.float32:
        # ncnn hands integers on as int32 bits in blobs that it calls float, or as floats.
        bits = torch.from_numpy(mine.view(np.int32)).squeeze()
        return differ_in_values(bits, theirs, tolerance) and difference
    return difference


def _first_line(text: str) -> str:
    """The first line of a message, without what changes from run to run."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"0x[0-9a-f]{6,}", "0x…", lines[0])[:160] if lines else ""
