"""Child program: imports repaired `_pnnx.py` files and runs them in PyTorch. Run by path.

A request names a `folder`, the `stem` of the files in it and the `result`, a path for the outputs. The
folder becomes the working directory, because pnnx writes the path of its `.bin` as it was given it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys

import numpy as np
import torch


def run(folder: str, stem: str, result: str) -> None:
    os.chdir(folder)
    name = f"{stem}_pnnx"
    spec = importlib.util.spec_from_file_location(name, os.path.join(folder, f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.Model().float().eval()
    stored = np.load("io.npz")
    inputs = [torch.from_numpy(stored[name]) for name in stored.files if name.startswith("in")]
    with torch.no_grad():
        outputs = network(*inputs)
    if not isinstance(outputs, tuple):
        outputs = (outputs,)
    np.savez(result, **{f"out{at}": output.numpy() for at, output in enumerate(outputs)})


def main() -> None:
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            run(**json.loads(line))
            answer: dict[str, str] = {}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
