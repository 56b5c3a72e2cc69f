"""Fuses a Clip into the layer before it, where pnnx fuses the Clip of a `torch.clamp`."""

from __future__ import annotations

from pnnxfix.codecs.number import FLT_MAX, spell_for_ncnn
from pnnxfix.graph.graph import Graph

# Source: pnnx, pass_ncnn/fuse_*_activation; ncnn, activation_type 3 of fused_activation.h.
FUSABLE = frozenset(
    [
        "Convolution",
        "ConvolutionDepthWise",
        "Convolution1D",
        "ConvolutionDepthWise1D",
        "Deconvolution",
        "DeconvolutionDepthWise",
        "InnerProduct",
    ]
)
_ACTIVATION_TYPE, _ACTIVATION_PARAMETERS = "9", "10"


def fuse_clip(graph: Graph, handle: int) -> bool:
    """Make the Clip of a row the activation of the layer before it; whether that was possible.

    The layer must have that single reader, weights of its own and no activation yet.
    """
    clip = graph[handle]
    blob = clip.inputs[0]
    layer = graph.maker(blob)
    if clip.type != "Clip" or layer is None or layer.type not in FUSABLE:
        return False
    if layer.outputs != (blob,) or len(layer.inputs) != 1 or len(graph.users(blob)) != 1:
        return False
    if any(_key(word) in {_ACTIVATION_TYPE, _ACTIVATION_PARAMETERS} for word in layer.rest):
        return False
    low = clip.parameter("0") or spell_for_ncnn(-FLT_MAX)
    high = clip.parameter("1") or spell_for_ncnn(FLT_MAX)
    added = (f"-23310=2,{low},{high}", f"{_ACTIVATION_TYPE}=3")
    # pnnx sorts parameters as text, and puts an array where its plain key would stand.
    rest = sorted((*layer.rest, *added), key=_key) if _is_sorted(layer.rest) else [*layer.rest, *added]
    graph.replace(handle)
    graph.replace_operator(layer, layer._replace(outputs=clip.outputs, rest=tuple(rest)))
    return True


def _key(word: str) -> str:
    key = word.partition("=")[0]
    if key.startswith("-233") and key[1:].isdigit():
        return str(int(key[1:]) - 23300)
    return key


def _is_sorted(words: tuple[str, ...]) -> bool:
    keys = [_key(word) for word in words]
    return keys == sorted(keys)
