"""What is known about the cause of a divergence: what the files, the log and the numbers say."""

from __future__ import annotations

from pnnxfix.codecs.console import read_console
from pnnxfix.errors import PnnxfixError
from pnnxfix.graph.graph import Operator
from pnnxfix.verify.distance import Value, is_rearranged
from pnnxfix.verify.kinds import is_fused_into, may_stand_for
from pnnxfix.verify.outcome import FormReport, Measure
from pnnxfix.verify.places import find_operator
from pnnxfix.verify.search import Culprit, Search
from pnnxfix.verify.subject import Subject

LARGEST_HALF = 65504.0
_OVERFLOW_HELP = "convert with fp16=0"

# ncnn layer, its parameter and default, pnnx's name for it, and which element of a list that is.
_SAME: tuple[tuple[str, str, str, str, int], ...] = (
    *(
        (layer, key, default, name, at)
        for layer in ("Convolution", "ConvolutionDepthWise", "Deconvolution", "DeconvolutionDepthWise")
        for key, default, name, at in (
            ("0", "0", "out_channels", 0),
            ("1", "0", "kernel_size", -1),
            ("11", "", "kernel_size", 0),
            ("2", "1", "dilation", -1),
            ("12", "", "dilation", 0),
            ("3", "1", "stride", -1),
            ("13", "", "stride", 0),
            ("4", "0", "padding", -1),
            ("14", "", "padding", 0),
            ("7", "1", "groups", 0),
        )
    ),
    *(
        (layer, key, default, name, 0)
        for layer in ("Convolution1D", "ConvolutionDepthWise1D")
        for key, default, name in (
            ("0", "0", "out_channels"),
            ("1", "0", "kernel_size"),
            ("2", "1", "dilation"),
            ("3", "1", "stride"),
            ("4", "0", "padding"),
            ("7", "1", "groups"),
        )
    ),
    ("LayerNorm", "1", "0.001", "eps", 0),
    ("GroupNorm", "0", "1", "num_groups", 0),
    ("GroupNorm", "2", "0.001", "eps", 0),
    ("Pooling", "1", "0", "kernel_size", -1),
    ("Pooling", "2", "1", "stride", -1),
    ("Pooling", "3", "0", "padding", -1),
    ("InnerProduct", "0", "0", "out_features", 0),
    ("Clip", "0", "-3.4028235e38", "min", 0),
    ("Clip", "1", "3.4028235e38", "max", 0),
    ("ReLU", "0", "0", "negative_slope", 0),
    ("PixelShuffle", "0", "1", "upscale_factor", 0),
    ("Embed", "1", "0", "num_embeddings", 0),
    ("MultiHeadAttention", "1", "1", "num_heads", 0),
    ("ELU", "0", "0.1", "alpha", 0),
)  # fmt: skip
_AXES = {
    "Softmax": "0",
    "Concat": "0",
    "Slice": "1",
    "CumulativeSum": "0",
    "Reduction": "-23303",
    "Crop": "-23311",
}


def find_causes(
    subject: Subject, search: Search, culprit: Culprit, layer: Operator | None, report: FormReport
) -> tuple[str, ...]:
    """Sentences, the most certain first."""
    right = search.right.values[culprit.right]
    left = None if culprit.left is None else search.left.values[culprit.left]
    causes: list[str] = []
    if culprit.finding == "dropped" and left is not None:
        causes.append(f"{left.kind} was dropped: the layer gives what went into it, and no layer comes after")
    if culprit.finding == "inserted":
        causes.append("the layer stands for no operator of the reference, and changes what passes through it")
    if culprit.finding == "shape":
        shape = f"it gives the right numbers as {list(right.signature.shape)}"
        if culprit.beside is not None:
            causes.append(f"{shape}, which the next layer takes for another shape")
        elif left is not None:
            causes.append(f"{shape}, the reference has {list(left.signature.shape)}, batch included")
    main = find_main(search, culprit, layer)
    row = find_operator(subject, None if main is None else search.left.values[main].record)
    if layer is not None and row is not None:
        causes.extend(_compare_parameters(layer, row))
        causes.extend(_read_log(subject, row))
    if left is not None and culprit.finding == "value":
        causes.extend(_look_at_numbers(search, culprit, layer))
    if layer is not None:
        causes.extend(_recall(layer, report.runtime))
    if layer is not None and layer.type == "BinaryOp":
        causes.extend(_check_broadcast(search, culprit))
    if left is not None and layer is not None and layer.type == "Concat":
        causes.extend(_check_empty(search, left))
    if left is not None and layer is None and right.kind == "gelu" and left.kind == "mul":
        causes.append("pnnx has put F.gelu for a formula that only approximates it")
    causes.extend(f"ncnn printed: {message}" for message in report.messages[-3:] if report.form == "ncnn")
    return tuple(dict.fromkeys(causes))


def find_main(search: Search, culprit: Culprit, layer: Operator | None) -> int | None:
    """The left operator that a layer is named after: with a fused activation, what comes before that."""
    at = culprit.left
    if at is None or layer is None or culprit.finding != "value":
        return at
    sources = search.left.values[at].inputs
    is_fused = is_fused_into(layer, search.left.values[at].kind) and len(sources) == 1
    return sources[0] if is_fused and not may_stand_for(layer, search.left.values[at].kind) else at


def find_output_causes(one: Measure) -> tuple[str, ...]:
    """For numbers that are right in a shape that is not."""
    shapes = f"shape {one.shapes[1]}, not {one.shapes[0]}"
    return (f"the numbers agree; the batch axis is put back at the wrong place: {shapes}",)


def _compare_parameters(layer: Operator, row: Operator) -> list[str]:
    found = []
    for kind, key, default, name, at in _SAME:
        if kind != layer.type or (said := row.parameter(name)) is None:
            continue
        words = [word for word in said.strip("()").split(",") if word]
        text = layer.parameter(key)
        if (text is None and not default) or not words:
            continue
        if not _is_same(
            text if text is not None else default, words[at if -len(words) <= at < len(words) else 0]
        ):
            has = f"{key}={text}" if text is not None else f"no {key}= (so {default})"
            found.append(f"{layer.type} has {has} where .pnnx.param has {name}={said}")
    return found


def _is_same(text: str, word: str) -> bool:
    try:
        a, b = float(text), float(word)
    except ValueError:
        return True  # None, a string: nothing that can be compared
    return abs(a - b) <= 1e-4 * max(abs(a), abs(b), 1e-30)


def _read_log(subject: Subject, row: Operator) -> list[str]:
    found = []
    for path in sorted(subject.stem.parent.glob("*.log"))[:4]:
        try:
            ignored = read_console(path).ignored.get((row.type, row.name), ())
        except PnnxfixError:
            continue
        found += [f"pnnx dropped {one.key}={one.value} ({path.name}:{one.line})" for one in ignored]
    return found


def _look_at_numbers(search: Search, culprit: Culprit, layer: Operator | None) -> list[str]:
    assert culprit.left is not None
    right, left = search.right.values[culprit.right].signature, search.left.values[culprit.left].signature
    facts = search.left.values[culprit.left].record.facts
    found = []
    weight = facts.get("largest_weight") or 0.0
    if weight > LARGEST_HALF:
        found.append(f"fp16 overflow: a weight of {weight:g} is infinite as a half float; {_OVERFLOW_HELP}")
    elif sum(right.infinities) > sum(left.infinities):
        found.append("infinite values where the reference has none: an overflow")
    if right.nans > left.nans:
        found.append(f"{right.nans} values are nan, {left.nans} of the reference")
    squeezed = [[size for size in s.shape if size != 1] for s in (right, left)]
    if squeezed[0] != squeezed[1]:
        found.append(f"shape {list(right.shape)} where the reference has {list(left.shape)}, batch included")
    elif culprit.error_out > 0.01 and is_rearranged(left, right):
        found.append("the numbers are right, their order is not: an axis or a permutation is wrong")
    if layer is not None and layer.type in _AXES and not found:
        key = _AXES[layer.type]
        found.append(f"its axis is {key}={layer.parameter(key)}; ncnn counts axes without the batch")
    return found


_FIRST_WITH_NEW_OPERATIONS = "ncnn 1.0.20260526"


def _recall(layer: Operator, runtime: str) -> list[str]:
    """What is known of the layer itself: faults of ncnn's that were measured with its releases."""
    operation = layer.parameter("0") or "0"
    if not operation.isdigit():
        return []
    number, found = int(operation), []
    if layer.type == "BinaryOp" and number in (6, 9):
        found.append(
            "ncnn's pow of a negative base, and 0**0, is 2.4e38 in full SIMD vectors; multiply instead"
        )
    if layer.type == "BinaryOp" and number in (17, 18):
        found.append("ncnn's remainder is the IEEE one: 3.5 % 2 is -0.5, in PyTorch 1.5")
    is_new = number > {"BinaryOp": 11, "UnaryOp": 19}.get(layer.type, number)
    if is_new and runtime.startswith("ncnn") and runtime < _FIRST_WITH_NEW_OPERATIONS:
        found.append(f"{runtime} does not know operation {number} and gives its input back")
    return found


def _check_broadcast(search: Search, culprit: Culprit) -> list[str]:
    shapes = [search.right.values[at].signature.shape for at in search.right.values[culprit.right].inputs]
    if len(shapes) == 2 and len(shapes[0]) != len(shapes[1]):
        joined = f"{list(shapes[0])} and {list(shapes[1])}"
        return [f"it joins {joined}: ncnn aligns unequal ranks at the outermost axis"]
    return []


def _check_empty(search: Search, left: Value) -> list[str]:
    if any(not search.left.values[at].signature.count for at in left.inputs):
        return ["it joins a tensor without elements: ncnn's MemoryData makes that one number, of any value"]
    return []
