"""Inputs of a network that cannot be fed: they lost their name to an output, or have too many axes."""

from __future__ import annotations

from pnnxfix.errors import PnnxfixError
from pnnxfix.graph.blobs import MAX_RANK, NO_BATCH
from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.shapes import Annotations
from pnnxfix.graph.splits import is_network_output
from pnnxfix.pipeline.discovery import NCNN_PARAM, NCNN_PY, TORCHSCRIPT
from pnnxfix.pipeline.findings import Place, make_finding
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.pipeline.selection import Selection
from pnnxfix.report import Finding
from pnnxfix.rules.base import Refusal
from pnnxfix.rules.wrong import UnfedInput, WideInput

_BFLOAT16 = 15  # ATen's number of the type


def feed_inputs(loaded: LoadedConversion, selection: Selection, blocked: Refusal | None) -> list[Finding]:
    """Report such inputs, and give them their names back unless `blocked` says why not."""
    findings = _find_wide_inputs(loaded, selection)
    if loaded.ncnn is None or not selection.wants(UnfedInput.code, path := loaded.files[NCNN_PARAM]):
        return findings
    graph = loaded.ncnn.graph
    for handle, name in _find_unfed(graph):
        row = graph.original(handle)
        refusal = blocked or _find_lost_cast(loaded) or _feed_script(loaded, name, row.outputs[0])
        help_text = (
            f"`pnnxfix fix` names its blob {name}, writes Noop for the output, and lets model_ncnn.py feed it"
        )
        if refusal is None:
            _feed(graph, handle, name)
        else:
            help_text = refusal.help
        message = f"the input `{row.name}` cannot be fed: its blob is `{row.outputs[0]}`, an output"
        reason = None if refusal is None else refusal.reason
        findings.append(
            make_finding(UnfedInput, Place(path, handle + 1), message, help_text, row.name, reason)
        )
    return findings


def _find_wide_inputs(loaded: LoadedConversion, selection: Selection) -> list[Finding]:
    """Report the inputs that no blob of ncnn holds."""
    if (
        loaded.ncnn is None
        or NCNN_PY not in loaded.files
        or not selection.wants(WideInput.code, path := loaded.files[NCNN_PARAM])
    ):
        return []
    graph, findings = loaded.ncnn.graph, []
    for name, given in loaded.script.inputs.items():
        axes = len(given.shape) - (given.batch_axis != NO_BATCH)
        handle = graph.producer(name)
        if axes > MAX_RANK and handle is not None and graph.original(handle).type == "Input":
            message = f"the input `{name}` cannot be fed: it has {axes} axes, and a blob {MAX_RANK}"
            help_text = "reshape it to fewer axes outside of the PyTorch model"
            reason = "ncnn has no blob for it"
            findings.append(
                make_finding(WideInput, Place(path, handle + 1), message, help_text, name, reason)
            )
    return findings


def _feed_script(loaded: LoadedConversion, name: str, output: str) -> Refusal | None:
    """Let `_ncnn.py`, if it is there, make and feed the input; why that cannot be."""
    if NCNN_PY not in loaded.files:
        return None
    from pnnxfix.codecs.ncnn_script import add_input

    shape = _find_shape(loaded, int(name[2:]))
    axis = loaded.script.outputs.get(output)
    if shape is None or axis is None:
        return Refusal("the shape of the input is not in the files", "keep model.pnnx.param beside the model")
    if len(shape) - (axis != NO_BATCH) > MAX_RANK:
        return Refusal(f"an input of {len(shape)} axes cannot be fed to ncnn", "reduce its rank")
    text = add_input(loaded.script_text, name, shape, axis)
    if text is None:
        return Refusal("model_ncnn.py is not as pnnx writes it", "feed the input in your own program")
    loaded.script_text = text
    return None


def _find_shape(loaded: LoadedConversion, number: int) -> tuple[int, ...] | None:
    """The shape of an input of the network, by its number."""
    if loaded.pnnx is None:
        return None
    graph = loaded.pnnx.graph
    inputs = [graph.original(handle) for handle in graph.of_types({"pnnx.Input"})]
    if number >= len(inputs) or not inputs[number].outputs:
        return None
    found = Annotations(graph).find(inputs[number].outputs[0])
    return None if found is None or not found[0] or min(found[0]) < 1 else found[0]


def _find_lost_cast(loaded: LoadedConversion) -> Refusal | None:
    """Why the input is not simply the output: pnnx drops a conversion to bfloat16 among the rest."""
    path = loaded.files.get(TORCHSCRIPT)
    if path is None:
        return None
    from pnnxfix.codecs.torchscript import read_calls

    try:
        code = read_calls(path, {"aten::to"})
    except (OSError, PnnxfixError):
        return None  # not every .pt is TorchScript; then it tells nothing
    if not any(word.value == _BFLOAT16 for call in code.calls for word in call.arguments[1:2]):
        return None
    return Refusal("the model converts to bfloat16, and no layer of ncnn does", "leave out the conversion")


def _find_unfed(graph: Graph) -> list[tuple[int, str]]:
    """The rows of such inputs, each with the name that its blob should have."""
    found = []
    for number, handle in enumerate(graph.of_types({"Input"})):
        outputs, name = graph.original(handle).outputs, f"in{number}"
        if len(outputs) == 1 and is_network_output(outputs[0]) and graph.producer(name) is None:
            found.append((handle, name))
    return found


def _feed(graph: Graph, handle: int, name: str) -> None:
    row = graph.original(handle)
    noop = Operator("Noop", graph.fresh_name("noop_fix"), (name,), row.outputs)
    graph.replace(handle, row._replace(outputs=(name,)), noop)
