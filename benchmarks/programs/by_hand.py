"""Runs the forms of a model as one does it by hand; prints the seconds that inference took, and its CPU's.

    python by_hand.py FOLDER COUNT SIZE FORM... [--keep]

A form is torchscript, python or ncnn. The generated Python runs as pnnx printed it, so each of its variables
lives until it returns. With --keep ncnn's blobs are all read and kept, too, as one has to for a comparison
layer by layer.
"""

import importlib.util
import os
import sys
import time
from collections.abc import Callable

import numpy as np

keep = "--keep" in sys.argv
folder, count, size, *forms = (word for word in sys.argv[1:] if word != "--keep")
os.chdir(folder)
data = np.random.RandomState(0).standard_normal((1, 3, int(size), int(size))).astype(np.float32)


def load_torchscript() -> Callable[[], object]:
    import torch

    network = torch.jit.load("model.pt").eval()  # type: ignore[no-untyped-call]
    return lambda: network(torch.from_numpy(data))


def load_python() -> Callable[[], object]:
    import torch

    spec = importlib.util.spec_from_file_location("converted", "model_pnnx.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.Model().float().eval()
    return lambda: network(torch.from_numpy(data))


def load_ncnn() -> Callable[[], object]:
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    if net.load_param("model.ncnn.param") or net.load_model("model.ncnn.bin"):
        raise SystemExit("ncnn does not load the model")
    names = ["out0"]
    if keep:  # a Split's copies are gone once they are read, and hold nothing new
        names = [blob.name for blob in net.blobs() if net.layers()[blob.producer].type != "Split"]

    def run() -> object:
        with net.create_extractor() as extractor:
            extractor.input("in0", ncnn.Mat(data[0]).clone())
            return [np.array(extractor.extract(name)[1]) for name in names]

    return run


runs = [{"torchscript": load_torchscript, "python": load_python, "ncnn": load_ncnn}[form]() for form in forms]
start, used = time.perf_counter(), time.process_time()
if set(forms) - {"ncnn"}:
    import torch

    torch.set_grad_enabled(False)
for _ in range(int(count)):
    for run in runs:
        run()
print(time.perf_counter() - start, time.process_time() - used)
