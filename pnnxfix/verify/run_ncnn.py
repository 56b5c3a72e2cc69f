"""The program of the child process that runs a network in ncnn; run by path, never imported.

Blobs are read one layer at a time, in the order of the file and in ncnn's light mode: each is there when
its layer has run and gone when the next has used it, so memory is that of one inference.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

# Python put the folder of this file in front, and modules of the standard library are to come first.
sys.path[:] = [
    entry for entry in sys.path if entry and Path(entry).resolve() != Path(__file__).resolve().parent
]
sys.path.append(str(Path(__file__).resolve().parents[2]))

import numpy as np  # noqa: E402

from pnnxfix.verify.serve import serve  # noqa: E402
from pnnxfix.verify.signature import Array, Enough, Recorder  # noqa: E402

NO_BATCH = 233
_SLOW_BUT_EXACT = (
    "use_fp16_packed",
    "use_fp16_storage",
    "use_fp16_arithmetic",
    "use_bf16_storage",
    "use_winograd_convolution",
)


class Network:
    """The one network of this process."""

    ncnn: Any = None
    net: Any = None


def start() -> str:
    import ncnn

    Network.ncnn = ncnn
    return f"ncnn {ncnn.__version__}"


def load(param: str, bin: str) -> dict[str, Any]:
    net = Network.ncnn.Net()
    net.opt.num_threads = 1
    for option in _SLOW_BUT_EXACT:
        setattr(net.opt, option, False)
    for path, read in ((param, net.load_param), (bin, net.load_model)):
        if read(path) != 0:
            raise ValueError(f"ncnn does not load {os.path.basename(path)}")
    Network.net = net
    return {"inputs": list(net.input_names()), "outputs": list(net.output_names())}


def make_blob(array: Array, batch: int) -> Any:
    """A blob with the memory of its own that layers which work in place need."""
    array = np.ascontiguousarray(array, np.float32 if array.dtype.kind == "f" else np.int32)
    if batch != NO_BATCH and array.shape[batch : batch + 1] == (1,):
        return Network.ncnn.Mat(np.ascontiguousarray(array.squeeze(batch))).clone()
    if batch != NO_BATCH or array.ndim > 4:
        if "batch_index" not in (Network.ncnn.Mat.__init__.__doc__ or ""):
            raise ValueError(
                f"this ncnn takes no input of shape {array.shape} with its batch on axis {batch}"
            )
        return Network.ncnn.Mat(array, batch_index=batch).clone()
    return Network.ncnn.Mat(array).clone()


def read_blob(blob: Any) -> tuple[Array, int]:
    """The blob as an array, and how many batches are its first axis; 1 is no axis."""
    batches = int(getattr(blob, "n", 1))
    if batches > 1:
        return np.array(blob.numpy(batch_index=0)), batches
    return np.array(blob.numpy()), 1


def extract(extractor: Any, name: str) -> tuple[Array, int]:
    code, blob = extractor.extract(name)
    if code != 0 or blob.dims == 0:
        raise ValueError(f"ncnn gives no blob {name} (code {code})")
    return read_blob(blob)


def feed(extractor: Any, inputs: list[dict[str, Any]]) -> None:
    for item in inputs:
        if extractor.input(item["blob"], make_blob(np.load(item["path"]), item["batch"])) != 0:
            raise ValueError(f"ncnn has no input {item['blob']}")


def run(inputs: list[dict[str, Any]], outputs: dict[str, int], folder: str) -> dict[str, Any]:
    """The outputs as .npy, with the batch axis where `outputs` says it belongs."""
    with Network.net.create_extractor() as extractor:
        feed(extractor, inputs)
        for name, batch in outputs.items():
            array, batches = extract(extractor, name)
            if batch != NO_BATCH:
                if batch > array.ndim:
                    raise ValueError(f"{name} has no axis {batch} for its batch")
                array = np.moveaxis(array, 0, batch) if batches > 1 else np.expand_dims(array, batch)
            np.save(os.path.join(folder, f"{name}.npy"), array)
    return {"outputs": list(outputs)}


def trace(inputs: list[dict[str, Any]], blobs: list[str], folder: str, wanted: list[str]) -> dict[str, Any]:
    """Every blob in `blobs`, which are in the order of their layers."""
    recorder = Recorder(Path(folder), frozenset(wanted))
    with contextlib.suppress(Enough), Network.net.create_extractor() as extractor:
        feed(extractor, inputs)
        for name in blobs:
            # Written first: if the process dies now, this is the layer that it died of.
            Path(folder, "at").write_text(name)
            array, batches = extract(extractor, name)
            places = tuple(range(array.ndim)) if batches > 1 else (0,)
            recorder.see(name, array, places)
    recorder.close()
    return {}


if __name__ == "__main__":
    serve({"load": load, "run": run, "trace": trace}, start)
