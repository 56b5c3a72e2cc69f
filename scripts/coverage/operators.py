"""The operators of PyTorch's OpInfo database, each as a network with one sample baked in."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten


class Unusable(Exception):
    """An operator that has no sample, cannot be traced or cannot be saved."""


def load_operators(only: str = "") -> dict[str, Any]:
    """The database's entries by a name that can be a folder's, in its order."""
    try:
        from torch.testing._internal.common_methods_invocations import op_db
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"PyTorch's operator database needs {error.name}: pip install {error.name}"
        ) from error
    names: dict[str, Any] = {}
    for entry in op_db:
        name = re.sub(r"\W", "_", "_".join(filter(None, (entry.name, entry.variant_test_name))))
        if name in names:
            raise SystemExit(f"two operators are called {name}: name them apart in load_operators")
        names[name] = entry
    return {name: entry for name, entry in names.items() if re.search(only, name)}


@dataclass(frozen=True, slots=True)
class Traced:
    """A traced sample, saved: shapes of its inputs as pnnx wants them."""

    input_shapes: str


class Network(torch.nn.Module):
    """Calls an operator with a sample's arguments; `forward` takes those that stand at `places`."""

    def __init__(
        self, operator: Callable[..., Any], leaves: list[Any], spec: TreeSpec, places: list[int]
    ) -> None:
        super().__init__()
        self.operator, self.leaves, self.spec, self.places = operator, leaves, spec, places

    def forward(self, *inputs: torch.Tensor) -> Any:
        leaves = list(self.leaves)
        for place, tensor in zip(self.places, inputs, strict=True):
            leaves[place] = tensor
        first, positional, named = tree_unflatten(leaves, self.spec)
        return self.operator(first, *positional, **named)


def save_sample(entry: Any, folder: Path) -> Traced:
    """Trace the operator's sample into `model.pt` and `io.pt`. Raises Unusable."""
    warnings.filterwarnings("ignore")
    sample = _choose_sample(entry)
    leaves, spec = tree_flatten((sample.input, tuple(sample.args), dict(sample.kwargs)))
    leaves = [leaf.detach() if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
    places = [place for place, leaf in enumerate(leaves) if _is_input(leaf)]
    if not places:
        raise Unusable("its sample has no float tensor")
    network = Network(entry.op, leaves, spec, places).eval()
    inputs = [leaves[place].contiguous() for place in places]
    try:
        with torch.no_grad():
            outputs = network(*(tensor.clone() for tensor in inputs))
            example = tuple(tensor.clone() for tensor in inputs)
            traced = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
        tensors = [leaf.detach() for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]
        traced.save(str(folder / "model.pt"))
        torch.save({"in": inputs, "out": tensors}, folder / "io.pt")
    except Exception as error:
        # Whatever an operator raises here is PyTorch's own limit: it has no traced model to convert.
        lines = str(error).strip().splitlines()
        raise Unusable(f"cannot be traced: {type(error).__name__}: {lines[0] if lines else ''}") from error
    return Traced(",".join(f"[{','.join(map(str, tensor.shape))}]f32" for tensor in inputs))


def _choose_sample(entry: Any) -> Any:
    """The first of the samples with the highest rank: a batch and channels give pnnx most to do."""
    torch.manual_seed(0)
    try:
        samples = [sample for sample in entry.sample_inputs("cpu", torch.float32) if _has_real_input(sample)]
    except Exception as error:
        raise Unusable(f"its samples cannot be made: {type(error).__name__}") from error
    if not samples:
        raise Unusable("it has no float32 sample of one axis or more")
    return max(samples, key=lambda s: s.input.dim() if isinstance(s.input, torch.Tensor) else 0)


def _has_real_input(sample: Any) -> bool:
    first = sample.input
    if isinstance(first, (list, tuple)) and first:
        first = first[0]
    return isinstance(first, torch.Tensor) and first.dim() >= 1 and first.numel() > 0


def _is_input(leaf: object) -> bool:
    return (
        isinstance(leaf, torch.Tensor)
        and leaf.layout == torch.strided
        and leaf.dtype == torch.float32
        and leaf.dim() >= 1
        and leaf.numel() > 0
    )
