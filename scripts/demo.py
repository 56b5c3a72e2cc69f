"""What `make demo` shows: a real conversion, what is wrong with it, its repair, and the result in ncnn.

    python scripts/demo.py

Works on a copy. Needs no torch: the input and PyTorch's output are stored beside the conversion.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RELEASE = "20261020"
CASE = "conv2d-both"

# pnnx stores the weights of a convolution as half floats, which costs this much.
TOLERANCE = 2e-3

LOAD = 'import ncnn; print(ncnn.Net().load_param("model.ncnn.param"))'


def say(text: str) -> None:
    """One paragraph; flushed, because the commands in between write by themselves."""
    print(f"\n{text}", flush=True)


def run(folder: Path, *command: str, shown: str = "python") -> None:
    """Show a command and run it with this interpreter; what it prints goes through as it is."""
    print(f"\n$ {shlex.join([shown, *command])}", flush=True)
    words = ["-m", shown, *command] if shown == "pnnxfix" else list(command)
    # A child process of its own, also because old releases of ncnn die of a param they cannot load.
    subprocess.run([sys.executable, *words], cwd=folder, check=False)


def infer(folder: Path, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """What ncnn computes: output name to array, without the batch axis, which ncnn leaves out."""
    import ncnn
    import numpy as np

    with ncnn.Net() as net:
        net.opt.num_threads = 1
        if net.load_param(str(folder / "model.ncnn.param")) or net.load_model(str(folder / "model.ncnn.bin")):
            raise SystemExit("ncnn does not load the repaired model")
        found = {}
        with net.create_extractor() as extractor:
            for name, array in arrays.items():
                if name.startswith("in"):
                    extractor.input(name, ncnn.Mat(np.ascontiguousarray(array[0])).clone())
            for name in arrays:
                if name.startswith("out"):
                    status, result = extractor.extract(name)
                    if status or not result.dims:
                        raise SystemExit(f"ncnn gives no {name}")
                    found[name] = np.array(result)
        return found


def compare(folder: Path, torch_version: str) -> bool:
    """Print the largest difference of each output; whether all are within the tolerance."""
    import ncnn
    import numpy as np

    with np.load(folder / "io.npz") as stored:
        arrays = dict(stored)
    good = True
    for name, result in infer(folder, arrays).items():
        expected = arrays[name][0]
        if result.shape != expected.shape:
            print(f"{name}: ncnn gives {result.shape}, PyTorch {expected.shape}")
            good = False
            continue
        difference = np.abs(result - expected)
        at = tuple(int(i) for i in np.unravel_index(np.argmax(difference), difference.shape))
        largest = float(difference[at])
        within = bool((difference <= TOLERANCE + TOLERANCE * np.abs(expected)).all())
        good = good and within
        print(
            f"ncnn {ncnn.__version__} runs the repaired model on the stored input.\n"
            f"{name} {result.shape}: the largest difference from PyTorch {torch_version} is {largest:.2g},"
            f" at {at}: {result[at]:.6f} and {expected[at]:.6f}.\n"
            f"That is {'within' if within else 'MORE THAN'} {TOLERANCE:g} + {TOLERANCE:g} * |PyTorch|,"
            " what half-float weights cost."
        )
    return good


def main() -> int:
    """Show everything; 1 where the repaired model does not compute what PyTorch does."""
    case = json.loads((ROOT / "fixtures" / "MANIFEST.json").read_text())["cases"][CASE]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / CASE
        shutil.copytree(ROOT / "fixtures" / RELEASE / CASE, folder)
        parts = ", ".join(f"{part} = {text}" for part, text in case["setup"].items())
        say(f"The network is {case['expression']}, {parts}; pnnx {RELEASE} converted it without an error.")
        say("But its Python does not parse, and ncnn does not load its graph (-1):")
        run(folder, "-m", "py_compile", "model_pnnx.py")
        run(folder, "-c", LOAD)
        say("pnnxfix tells what is wrong,")
        run(folder, "check", ".", shown="pnnxfix")
        say("what it would change,")
        run(folder, "fix", "--diff", ".", shown="pnnxfix")
        say("and repairs all files of the conversion together:")
        run(folder, "fix", ".", shown="pnnxfix")
        run(folder, "-m", "py_compile", "model_pnnx.py")
        run(folder, "-c", LOAD)
        say(f"The Python parses, ncnn loads the graph (0). And the numbers? (fixtures/{RELEASE}/{CASE})\n")
        return 0 if compare(folder, case["torch"]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
