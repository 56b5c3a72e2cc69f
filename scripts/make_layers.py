"""Writes `pnnxfix/data/ncnn_layers.txt`: the layer types that ncnn's wheels can really create.

Candidates are the strings of ncnn's extension module that `layer_to_index` knows. That is no promise: some
types are compiled out of the wheels though their names remain. So each is put into a param and loaded, in
a forked process, since ncnn up to 1.0.20250916 crashes on a load that fails. A type is counted as missing
exactly when ncnn says "not exists or registered"; one that refuses its default parameters exists.

    python scripts/make_layers.py [--release 1.0.20240102=FOLDER]...

A release without a folder is installed with pip into build/ncnn/RELEASE.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "pnnxfix" / "data" / "ncnn_layers.txt"
RELEASES = ("1.0.20240102", "1.0.20240820", "1.0.20250503", "1.0.20250916", "1.0.20260526", "1.0.20261020")
MISSING = b"not exists or registered"
NAME = re.compile(rb"[A-Za-z0-9_]{2,60}(?=\0)")


def find_candidates(module: bytes) -> set[str]:
    """Every string of the module, and every end of one from a capital on.

    Linkers store `Embed` as the end of `RotaryEmbed`.
    """
    names = {name.decode() for name in NAME.findall(module)}
    return {name[i:] for name in names for i, letter in enumerate(name) if letter.isupper()}


def load_messages(layer: str) -> bytes:
    """What a forked process prints on stderr while it loads a net of an Input and this layer."""
    import ncnn

    with tempfile.TemporaryFile() as log:
        pid = os.fork()
        if pid == 0:
            os.dup2(log.fileno(), 2)
            ncnn.Net().load_param_mem(f"7767517\n2 2\nInput in 0 1 a\n{layer} x 1 1 a b\n")
            os._exit(0)
        os.waitpid(pid, 0)
        log.seek(0)
        return log.read()


def probe() -> list[str]:
    """The types that the ncnn on this process's path can create."""
    import ncnn

    # If the wording changed, every candidate would seem to exist.
    if MISSING not in load_messages("NoSuchLayer") or MISSING in load_messages("ReLU"):
        raise SystemExit(f"ncnn {ncnn.__version__} words a missing layer in a new way: look at load_messages")
    candidates = sorted(find_candidates(Path(ncnn.ncnn.__file__).read_bytes()))
    known = [name for name in candidates if ncnn.layer_to_index(name) >= 0]
    return [name for name in known if MISSING not in load_messages(name)]


def probe_release(release: str, folder: Path) -> list[str]:
    if not folder.is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        subprocess.run([*pip, str(folder), f"ncnn=={release}"], check=True)
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), "--probe"]
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    version, layers = json.loads(result.stdout)
    if version != release:
        raise SystemExit(f"{folder} holds ncnn {version}, not {release}")
    return list(layers)


def write_table(found: dict[str, list[str]]) -> str:
    """The text of the data file; `found` maps releases, oldest first, to what they can create."""
    first: dict[str, str] = {}
    for release, layers in found.items():
        for layer in layers:
            first.setdefault(layer, release.removeprefix("1.0."))
    newest = list(found)[-1]
    gone = sorted(set(first) - set(found[newest]))
    head = [
        "# Layer types that ncnn can create, each with the first of the releases below that has it.",
        "# Made by scripts/make_layers.py, which loads each type: ncnn lists some that it cannot create.",
        f"# Releases (x86-64 wheels): {' '.join(found)}",
        f"# Of these not in {newest}: {' '.join(gone) or 'none'}",
    ]
    return "\n".join([*head, *(f"{layer} {first[layer]}" for layer in sorted(first))]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Write pnnxfix/data/ncnn_layers.txt.")
    parser.add_argument("--release", action="append", default=[], metavar="R=FOLDER")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--probe", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.probe:
        import ncnn

        print(json.dumps([ncnn.__version__, probe()]))
        return
    folders = {release: ROOT / "build" / "ncnn" / release for release in RELEASES}
    for item in arguments.release:
        release, _, folder = item.partition("=")
        folders[release] = Path(folder)
    found = {release: probe_release(release, folders[release]) for release in sorted(folders)}
    arguments.output.write_text(write_table(found), encoding="ascii", newline="\n")


if __name__ == "__main__":
    main()
