"""Child program: runs networks in ncnn on stored inputs. Run by path, imports no other file of the tests.

A request names a `folder`, the `stem` of the files in it and the `result`, a path for the outputs. How an
input becomes a blob is read from `<stem>_ncnn.py`, as a user of these files would do it.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

import ncnn
import numpy as np

NO_BATCH = 233
"""pnnx's number for "no axis is the batch"."""

INPUT = re.compile(r'ex\.input\("(in\d+)", ncnn\.Mat\(\w+(.*)\)$', re.MULTILINE)
OUTPUT = re.compile(
    r'_, (\w+) = ex\.extract\("(\w+)"\)\n *out\.append\(torch\.from_numpy\(.*?\b\1\b(.*)$', re.MULTILINE
)
AXIS = re.compile(r"(batch_index=|squeeze\()(\d+)")

HAS_BATCHES = "batch_index" in (ncnn.Mat.__init__.__doc__ or "")
"""Whether this ncnn knows a batch axis; before, the script of its time dropped the axis itself."""


def read_axis(text: str) -> tuple[int, bool]:
    """The batch axis, and whether the script leaves it to ncnn."""
    match = AXIS.search(text)
    return (NO_BATCH, False) if match is None else (int(match[2]), match[1] == "batch_index=")


def make_blob(array: np.ndarray[Any, Any], text: str) -> Any:
    axis, by_ncnn = read_axis(text)
    # ncnn knows no wider integers, and the scripts make their inputs of these.
    array = np.ascontiguousarray(array.astype(np.int32) if array.dtype == np.int64 else array)
    if by_ncnn and HAS_BATCHES:
        return ncnn.Mat(array, batch_index=axis).clone()
    if axis != NO_BATCH:
        array = np.ascontiguousarray(array.squeeze(axis))
    # The Mat borrows the memory, and a layer that works in place would write into it.
    return ncnn.Mat(array).clone()


def read_blob(blob: Any, text: str) -> np.ndarray[Any, Any]:
    axis, by_ncnn = read_axis(text)
    if by_ncnn and HAS_BATCHES:
        return np.array(blob.numpy(batch_index=axis))
    array = np.array(blob.numpy())
    return array if axis == NO_BATCH else np.expand_dims(array, axis)


def run(folder: str, stem: str, result: str) -> None:
    with open(os.path.join(folder, f"{stem}_ncnn.py")) as file:
        script = file.read()
    inputs = np.load(os.path.join(folder, "io.npz"))
    # Under `with`, as the scripts have it: a Net that is collected later crashes some releases.
    with ncnn.Net() as net:
        net.opt.num_threads = 1
        for option in (
            "use_fp16_packed",
            "use_fp16_storage",
            "use_fp16_arithmetic",
            "use_bf16_storage",
            "use_winograd_convolution",
            "use_sgemm_convolution",
        ):
            setattr(net.opt, option, False)
        for load, suffix in ((net.load_param, "param"), (net.load_model, "bin")):
            if load(os.path.join(folder, f"{stem}.ncnn.{suffix}")) != 0:
                raise RuntimeError(f"ncnn does not load the {suffix}")
        outputs: dict[str, Any] = {}
        with net.create_extractor() as extractor:
            feeds = INPUT.findall(script)
            if [name for name, _ in feeds] != [name for name in inputs.files if name.startswith("in")]:
                raise RuntimeError(f"the script feeds {feeds}")
            for name, text in feeds:
                if extractor.input(name, make_blob(inputs[name], text)) != 0:
                    raise RuntimeError(f"ncnn has no input {name}")
            for variable, name, text in OUTPUT.findall(script):
                code, blob = extractor.extract(name)
                if code != 0 or blob.dims == 0:
                    raise RuntimeError(f"ncnn gives no {name}: {code}")
                outputs[variable] = read_blob(blob, text)
    np.savez(result, **outputs)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what ncnn prints is no answer
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
