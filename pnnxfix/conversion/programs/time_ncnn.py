"""The program of the child process that measures how long a network takes in ncnn; run by path."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

# Python put the folder of this file in front, and modules of the standard library are to come first.
sys.path[:] = [one for one in sys.path if one and Path(one).resolve() != Path(__file__).resolve().parent]
sys.path.append(str(Path(__file__).resolve().parents[3]))

import numpy as np  # noqa: E402

from pnnxfix.verify.run_ncnn import make_blob, start  # noqa: E402
from pnnxfix.verify.serve import serve  # noqa: E402

_LEAST_RUNS = 5
_MOST_RUNS = 200


def measure(param: str, bin: str, inputs: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """The least time of one inference in milliseconds, one thread, on zeros; about `seconds` are spent."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    if net.load_param(param) != 0 or net.load_model(bin) != 0:
        raise ValueError("ncnn does not load it")
    feeds = set(net.input_names())
    blobs = [
        (one["blob"], make_blob(np.zeros(one["shape"], one["dtype"]), one["batch"]))
        for one in inputs
        if one["blob"] in feeds
    ]
    best, runs, end = float("inf"), 0, time.perf_counter() + seconds
    while runs < _LEAST_RUNS or (runs < _MOST_RUNS and time.perf_counter() < end):
        begin = time.perf_counter()
        with net.create_extractor() as extractor:
            for name, blob in blobs:
                extractor.input(name, blob)
            for name in net.output_names():
                extractor.extract(name)
        best = min(best, time.perf_counter() - begin)
        runs += 1
    return {"milliseconds": 1000 * best}


if __name__ == "__main__":
    serve({"measure": measure}, start)
