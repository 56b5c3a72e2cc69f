"""`verify --bisect` beside running the forms by hand: a deep network, and a small one for its start."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from figures import Figure
from measure import Contender, make_environment, race
from memory import Memory, find_peak
from workshop import FIXTURES, PROGRAMS, Workshop, pnnxfix, program

DEEP = "A deep network"
SMALL = "A small network"
BLOCKS = 100
"""Of a convolution, a tanh, a product and a sum each, so 401 layers; ncnn has a Split for each, too."""
SIZE = 112
COUNT = 10
FORMS = ("torchscript", "python", "ncnn")
BAR = 0.5
"""The project's own reading of "in well under the time of ten inferences of each form"."""


def measure(shop: Workshop) -> Iterator[Figure]:
    """Times. Needs torch and the pnnx of the environment."""
    size = 16 if shop.quick else SIZE
    sound = convert(shop, "sound", shop.scale(BLOCKS) or 1, size)
    yield from _measure_bisection(shop, alter(shop, sound, shop.scale(BLOCKS // 2)), size)
    if not shop.quick:  # the same programs once more
        yield from _measure_agreement(shop, sound, size)
        yield from _measure_small(shop)


def _measure_bisection(shop: Workshop, bad: Path, size: int) -> Iterator[Figure]:
    runs = race(
        {
            "alone": program("bisect_alone", bad, inner=True),
            "bisected": verify("--bisect", bad, code=1),
            "quickly": verify("--bisect", bad, "--draws", "0", code=1),
            "hand": by_hand(bad, COUNT, size, *FORMS),
        },
        shop.rounds(3),
        warm_up=not shop.quick,
    )
    ten = f"{COUNT} inferences of each form, by hand"
    fault = f"{_count_layers(bad)} layers, 1x3x{size}x{size}, a wrong number in the middle"
    note = (
        "By hand: one process, which has loaded the three forms; only the inferences count. The forms are "
        "TorchScript, the generated Python and ncnn, one thread each."
    )
    yield Figure(
        DEEP, f"what --bisect adds to a comparison, {fault}", runs["alone"], ten, runs["hand"], BAR, note
    )
    note = (
        "The whole command: it starts three processes, compares on 7 inputs (4 with --draws 0), runs the "
        "reference twice on the first, bisects. ncnn computes without Winograd's convolutions, more exactly."
    )
    for options, name in (("", "bisected"), (" --draws 0", "quickly")):
        yield Figure(DEEP, f"verify --bisect{options}, {fault}", runs[name], ten, runs["hand"], None, note)


def _measure_agreement(shop: Workshop, sound: Path, size: int) -> Iterator[Figure]:
    whole = by_hand(sound, 7, size, *FORMS, whole=True)
    runs = race({"verify": verify("--bisect", sound), "hand": whole}, shop.rounds(3), warm_up=False)
    yield Figure(
        DEEP,
        f"verify --bisect, {_count_layers(sound)} layers, nothing wrong",
        runs["verify"],
        "7 inferences of each form, by hand, starting and loading included",
        runs["hand"],
    )


def _measure_small(shop: Workshop) -> Iterator[Figure]:
    folder = shop.folder("small")
    shutil.copytree(FIXTURES / "verify" / "deep", folder, dirs_exist_ok=True)
    bad = folder.with_name("small-bad")
    shutil.copytree(folder, bad)
    _alter_product(bad / "model.ncnn.param", 12)
    whole = by_hand(folder, 1, 8, *FORMS, whole=True)
    runs = race(
        {"agrees": verify("--bisect", folder), "bad": verify("--bisect", bad, code=1), "hand": whole},
        shop.rounds(5),
    )
    for what, name in (("nothing wrong", "agrees"), ("a wrong number in the middle", "bad")):
        yield Figure(
            SMALL,
            f"verify --bisect, {_count_layers(folder)} layers, 1x3x8x8, {what}",
            runs[name],
            "one inference of each form, by hand, starting and loading included",
            runs["hand"],
        )


def measure_memory(shop: Workshop) -> Iterator[Memory]:
    """Peaks of all processes together."""
    size = 16 if shop.quick else SIZE
    sound = shop.home / "sound"
    bad = alter(shop, sound, shop.scale(BLOCKS // 2))
    layers = _count_layers(sound)
    peak = find_peak(verify("--bisect", bad, code=1).command, (1,))
    alone = {form: find_peak(by_hand(bad, 1, size, form).command) for form in FORMS}
    kept = find_peak(by_hand(bad, 1, size, "ncnn", "--keep").command)
    what = f"verify --bisect, {layers} layers, 1x3x{size}x{size}"
    yield Memory(what, peak, "each form by hand, in a process of its own", sum(alone.values()), 1)
    yield Memory(
        what, peak, "the generated Python and ncnn by hand, every value kept", alone["python"] + kept, 1
    )
    if shop.quick:
        return
    twice = convert(shop, "twice", 2 * (shop.scale(BLOCKS) or 1), size)
    bad = alter(shop, twice, shop.scale(BLOCKS))
    larger = find_peak(verify("--bisect", bad, code=1).command, (1,))
    yield Memory(f"the same, {_count_layers(twice)} layers", larger, f"{layers} layers", peak, 1.1)


# what is measured


def convert(shop: Workshop, name: str, blocks: int, size: int) -> Path:
    """A chain of blocks, traced by torch and converted by pnnx."""
    folder = shop.folder(name)
    trace = [sys.executable, str(PROGRAMS / "trace_chain.py"), str(folder), str(blocks), str(size)]
    subprocess.run(trace, env=make_environment(), check=True)
    pnnx = [sys.executable, "-c", "import pnnx, sys; sys.exit(pnnx.pnnx())"]
    subprocess.run(
        [*pnnx, "model.pt", f"inputshape=[1,3,{size},{size}]f32"],
        cwd=folder,
        env=make_environment(),
        check=True,
        stderr=subprocess.DEVNULL,
    )
    return folder


def alter(shop: Workshop, sound: Path, block: int) -> Path:
    """A copy in which one block's product is another one. Raises SystemExit if `verify` does not name it."""
    bad = shop.home / f"{sound.name}-{block}"
    if bad.exists():
        return bad
    shutil.copytree(sound, bad)
    altered = _alter_product(bad / "model.ncnn.param", block)
    command = [*pnnxfix("verify"), "--bisect", "--output-format", "json", str(bad)]
    done = subprocess.run(command, env=make_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    forms = json.loads(done.stdout)["conversions"][0]["forms"]
    named = next(form["divergence"]["operator"] for form in forms if form["form"] == "ncnn")
    if named != altered:
        raise SystemExit(f"verify names {named}, not {altered}")
    return bad


def _alter_product(path: Path, which: int) -> str:
    """Multiply by another number in one block of a chain; gives the layer's name."""
    rows = path.read_text().split("\n")
    at = [at for at, row in enumerate(rows) if row.endswith("2=0.5")][which]
    rows[at] = rows[at].replace("2=0.5", "2=0.75")
    path.write_text("\n".join(rows))
    return rows[at].split()[1]


def verify(option: str, folder: Path, *options: str, code: int = 0) -> Contender:
    """The command; `code` is what it ends with."""
    command = [*pnnxfix("verify"), option, *options, "--quiet", str(folder)]
    return Contender(command, codes=frozenset({code}))


def by_hand(folder: Path, count: int, size: int, *forms: str, whole: bool = False) -> Contender:
    """`count` inferences of each form; with `whole` the start of the process and loading count, too."""
    command = [sys.executable, str(PROGRAMS / "by_hand.py"), str(folder), str(count), str(size), *forms]
    return Contender(command, inner=not whole)


def _count_layers(folder: Path) -> int:
    rows = (folder / "model.ncnn.param").read_text().splitlines()[2:]
    return sum(not row.startswith(("Split", "Input")) for row in rows)
