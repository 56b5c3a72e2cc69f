"""Which layer of ncnn's graph is which operator of pnnx's.

pnnx names and numbers both anew, and puts Reshapes of its own between the layers. So a row is found from a
neighbour that is known, by what an operator can become.
"""

from __future__ import annotations

from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.splits import SPLIT, is_layout_row

ATTENTION = "F.scaled_dot_product_attention"
TRANSPOSES = frozenset({"torch.transpose", "Tensor.permute", "torch.permute", "torch.t"})
_LONGEST_CHAIN = 64
_REDUCTIONS = ("sum", "mean", "prod", "amax", "amin", "logsumexp")
LAYERS_OF = {
    "Tensor.permute": {"Permute"},
    "torch.permute": {"Permute"},
    "torch.transpose": {"Permute"},
    "Tensor.reshape": {"Reshape"},
    "Tensor.reshape_as": {"Reshape"},
    "Tensor.unflatten": {"Reshape"},
    "Tensor.view": {"Reshape"},
    "torch.flatten": {"Reshape", "Flatten"},
    "Tensor.select": {"Crop", "Squeeze"},
    "Tensor.slice": {"Crop"},
    "torch.unbind": {"Slice"},
    "torch.squeeze": {"Squeeze", "Reshape"},
    "torch.unsqueeze": {"ExpandDims", "Reshape"},
    "torch.chunk": {"Slice"},
    "torch.split": {"Slice"},
    "torch.tensor_split": {"Slice"},
    "F.softmax": {"Softmax"},
    "torch.matmul": {"MatMul"},
    **{f"torch.{name}": {"Reduction"} for name in _REDUCTIONS},
    ATTENTION: {"SDPA"},
    "torch.stack": {"Concat"},
    "torch.cat": {"Concat"},
    "pnnx.Expression": {"BinaryOp", "UnaryOp"},
    "torch.cumsum": {"CumulativeSum"},
    "Tensor.expand": {"Tile"},
    "Tensor.repeat": {"Tile"},
    "nn.Embedding": {"Embed"},
    "nn.Linear": {"Gemm", "InnerProduct"},
    "nn.LayerNorm": {"LayerNorm"},
    "nn.BatchNorm1d": {"BatchNorm"},
    "nn.GELU": {"GELU"},
    "nn.ReLU": {"ReLU"},
    "nn.SiLU": {"Swish"},
    "nn.Hardswish": {"HardSwish"},
    "nn.Sigmoid": {"Sigmoid"},
    "nn.Softmax": {"Softmax"},
}


def fits(layer: Operator, operator: Operator) -> bool:
    """Whether a layer can be what pnnx made of an operator."""
    if layer.type == operator.type:
        return layer.name == operator.name
    return layer.type in LAYERS_OF.get(operator.type, ())


def may_be_reshape(operator: Operator) -> bool:
    """Whether a Reshape can be what pnnx made of an operator; else it is a change of layout beside it."""
    return "Reshape" in LAYERS_OF.get(operator.type, ())


def is_broadcast_row(layer: Operator) -> bool:
    """Whether pnnx put this Reshape in so that the layer after it broadcasts as torch does."""
    return layer.type == "Reshape" and "_ncnnreshape" in layer.name


def skip_changes_of_layout(graph: Graph, blob: str, skips_reshapes: bool) -> str:
    """The blob before Splits and changes of layout; `skips_reshapes`: every Reshape is one."""
    for _ in range(_LONGEST_CHAIN):
        maker = graph.maker(blob)
        if maker is None:
            break
        passes = maker.type == SPLIT or is_layout_row(maker) or is_broadcast_row(maker)
        if not passes and not (skips_reshapes and maker.type == "Reshape"):
            break
        blob = maker.inputs[0]
    return blob


def skip_layout_rows(graph: Graph, blob: str, names: tuple[str, ...]) -> str:
    """The blob before pnnx's changes of layout for the operator of these names: the same elements."""
    for _ in range(_LONGEST_CHAIN):
        maker = graph.maker(blob)
        if maker is None:
            break
        own = is_broadcast_row(maker) and maker.name.startswith(tuple(f"{n}_ncnnreshape" for n in names))
        if not own and not is_layout_row(maker):
            break
        blob = maker.inputs[0]
    return blob
