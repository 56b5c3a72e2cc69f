"""Beside pnnx itself: what a repair costs against a conversion, and what the repaired model costs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from figures import Figure
from measure import Contender, Timing, make_environment, race
from workshop import FIXTURES, PROGRAMS, RELEASE, Workshop

SECTION = "Beside pnnx"
INFERENCE = "Inference"
CONVERSIONS = 1_000
SHAPE = (3, 224, 224)
NETWORK = "27 convolutions with a clamp each, 1x3x224x224"
BLOCKS = {
    "attention": ("4 attention blocks with a fused q/k/v projection", "three-axis chunks"),
    "windows": ("4 layers in windows, on six axes", "windows on four axes"),
    "response-norm": ("4 global response norms with addcmul", "a product and a sum"),
}
"""What `trace_lowered.py` makes: the network, and how the form that pnnx converts is written."""


def measure(shop: Workshop) -> Iterator[Figure]:
    """Needs torch, and pnnx of the release, which is fetched from PyPI unless it is there."""
    if shop.quick:
        return
    pnnx = find_pnnx()
    yield from _measure_network(shop, pnnx)
    for block in BLOCKS:
        yield _measure_block(shop, pnnx, block)
    yield from _measure_many(shop, pnnx)


def find_pnnx() -> Path:
    """pnnx of the release, fetched from PyPI unless it is there."""
    return Path(subprocess.run(
        [sys.executable, "-c", f"from build import find_pnnx; print(find_pnnx({RELEASE!r}))"],
        env=make_environment() | {"PYTHONPATH": f"{FIXTURES}:{FIXTURES.parent}"},
        check=True, stdout=subprocess.PIPE, text=True,
    ).stdout.split("\n")[-2])  # fmt: skip


def _measure_network(shop: Workshop, pnnx: Path) -> Iterator[Figure]:
    folders: dict[str, Path] = {}
    convert = {}
    for kind in ("leaked", "native"):
        folder = folders[kind] = shop.folder(kind)
        subprocess.run(
            [sys.executable, PROGRAMS / "trace_network.py", folder, kind], env=make_environment(), check=True
        )
        shape = ",".join(map(str, (1, *SHAPE)))
        convert[kind] = Contender([str(pnnx), str(folder / "model.pt"), f"inputshape=[{shape}]f32"])
    race({"native": convert["native"]}, 1, warm_up=False)
    race({"leaked": convert["leaked"]}, 1, warm_up=False)
    source = shop.folder("network")
    for path in folders["leaked"].glob("model*"):
        shutil.copy(path, source)
    runs = race({"fix": shop.fix(source), "pnnx": convert["leaked"]}, shop.rounds(8))
    yield Figure(
        SECTION, f"fix, a network of {NETWORK}", runs["fix"], "pnnx converts it", runs["pnnx"], 1,
        "The bar of 1 is the project's own reading of \"against pnnx's own conversion\".",
    )  # fmt: skip
    yield _measure_inference(
        shop.home / "network-fixed" / "model", folders["native"] / "model", NETWORK, "torch.clamp"
    )


def _measure_block(shop: Workshop, pnnx: Path, block: str) -> Figure:
    """A network of operators that are lowered, against the same one in operators that pnnx converts."""
    stems = {}
    for kind in ("leaked", "native"):
        folder = shop.folder(f"{block}-{kind}")
        stems[kind] = folder / "model"
        trace = [sys.executable, PROGRAMS / "trace_lowered.py", folder, block, kind]
        subprocess.run(trace, env=make_environment(), check=True)
        shape = ",".join(map(str, (1, *SHAPE)))
        convert = Contender([str(pnnx), str(folder / "model.pt"), f"inputshape=[{shape}]f32"])
        race({"pnnx": convert}, 1, warm_up=False)
    race({"fix": shop.fix(stems["leaked"].parent)}, 1, warm_up=False)
    repaired = shop.home / f"{block}-leaked-fixed" / "model"
    return _measure_inference(repaired, stems["native"], *BLOCKS[block])


def _measure_inference(repaired: Path, native: Path, network: str, form: str) -> Figure:
    """The repaired model, the native one, and the native one again, which shows the noise."""
    rounds = 120
    command = [sys.executable, str(PROGRAMS / "infer.py"), str(rounds), ",".join(map(str, SHAPE))]
    done = subprocess.run(
        [*command, str(repaired), str(native), str(native)],
        env=make_environment(),
        check=True,
        stdout=subprocess.PIPE,
    )
    first, second, again = json.loads(done.stdout.split(b"\n")[0])
    noise = max(min(again) / min(second), min(second) / min(again))
    layers = [
        len((stem.with_suffix(".ncnn.param")).read_text().splitlines()) - 2 for stem in (repaired, native)
    ]
    note = (
        f"One inference, one thread, {rounds} rounds in turn, same numbers out. The repaired graph has "
        f"{layers[0]} layers, the native one {layers[1]}. The native model, loaded twice, differs from "
        f"itself by a factor of {noise:.3f}"
    )
    note += "; the bar is that noise, or 1.02 if it is smaller." if network == NETWORK else "."
    return Figure(
        INFERENCE,
        f"repaired model, {network}",
        Timing(tuple(first), (0.0,), 0),
        f"pnnx's own conversion of the twin with {form}",
        Timing(tuple(second), (0.0,), 0),
        max(noise, 1.02) if network == NETWORK else None,
        note,
    )


def _measure_many(shop: Workshop, pnnx: Path) -> Iterator[Figure]:
    cases = json.loads((FIXTURES / "MANIFEST.json").read_text())["cases"]
    stored = {name: case for name, case in cases.items() if RELEASE in case["files"]}
    source = shop.folder("many")
    names = list(stored)
    for at in range(CONVERSIONS):
        name = names[at % len(names)]
        ignored = shutil.ignore_patterns("io.npz")
        shutil.copytree(FIXTURES / RELEASE / name, source / f"{at:04}-{name}", ignore=ignored)
    fix = race({"fix": shop.fix(source)}, 1, warm_up=False)["fix"]
    wall, cpu = 0.0, 0.0
    for name, case in stored.items():
        folder = shop.home / "again" / name
        shutil.copytree(FIXTURES / RELEASE / name, folder)
        model = next(folder.glob("*.pt"))
        specs = (spec.partition("[") for spec in case["inputs"].values())
        shapes = ",".join(f"[{sizes}{kind}" for kind, _, sizes in specs)
        command = [str(pnnx), str(model), f"inputshape={shapes}"]
        run = race({"pnnx": Contender(command)}, 1, warm_up=False)["pnnx"]
        wall, cpu = wall + run.wall[0], cpu + run.cpu[0]
    share = CONVERSIONS / len(stored)
    yield Figure(
        SECTION, f"fix, {CONVERSIONS:,} conversions in one run", fix, f"pnnx converts {CONVERSIONS:,} models",
        Timing((wall * share,), (cpu * share,), 0), 1,
        f"{CONVERSIONS / fix.best:.0f} conversions per second, load check in ncnn and writes included. They "
        f"are copies of the {len(stored)} fixtures of release {RELEASE}; pnnx converted each of those once, "
        f"and its time is scaled to {CONVERSIONS:,}.",
    )  # fmt: skip
