"""What grows: graphs of up to 100,000 layers, and a Python file of 50,000 statements."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from figures import Figure
from generated import write_graphs, write_python
from measure import race
from workshop import Workshop, program

GRAPHS = "A large graph"
LINEAR = "Time against size"
PYTHON = "A large Python file"
LAYERS = 50_000
LEAKS = 1_000
SIZES = (10_000, 20_000, 50_000, 100_000)


def measure(shop: Workshop) -> Iterator[Figure]:
    yield from _measure_graphs(shop)
    yield from _measure_growth(shop)
    yield from _measure_python(shop)


def _graphs(shop: Workshop, layers: int) -> Path:
    folder = shop.folder(f"graphs-{layers}")
    write_graphs(folder, shop.scale(layers), shop.scale(layers * LEAKS // LAYERS))
    return folder


def _measure_graphs(shop: Workshop) -> Iterator[Figure]:
    folder = _graphs(shop, LAYERS)
    files = [folder / "m.ncnn.param", folder / "m.pnnx.param"]
    fixed = folder.with_name(f"{folder.name}-fixed")
    runs = race(
        {
            "fix": shop.fix(folder, "--no-load-check"),
            "streamed": program("split_join", "streamed", *files, shop.home / "joined"),
            "held": program("split_join", "held", *files, shop.home / "joined"),
            "disk": program("write_through", *(fixed / path.name for path in files), inner=True),
        },
        shop.rounds(12),
    )
    layers, leaks = shop.scale(LAYERS), shop.scale(LEAKS)
    what = f"fix --no-load-check, two graphs of {layers:,} layers, {leaks:,} leaked clamps"
    size = sum(path.stat().st_size for path in files)
    note = (
        f"The ncnn.param and the pnnx.param have {size / 1e6:.1f} MB; writing them through to the disk takes "
        f"{runs['disk'].best * 1000:.0f} ms of `fix` (median {runs['disk'].median * 1000:.0f} ms); "
        "the floors do not wait for the disk, nor do they import a command line."
    )
    split_join = "read as text, split every line, join it, write"
    yield Figure(GRAPHS, what, runs["fix"], split_join, runs["streamed"], 3, note)
    held = "the same, all lines split before the first is joined"
    yield Figure(GRAPHS, what, runs["fix"], held, runs["held"], 3, note)
    load = program("load_ncnn", fixed / "m.ncnn.param", inner=True)  # which each `fix` before it has left
    runs = race({"fix": shop.fix(folder, "--no-load-check"), "load": load}, shop.rounds(3))
    note = "ncnn's time is that of `load_param` alone, its CPU that of the process."
    yield Figure(GRAPHS, what, runs["fix"], "ncnn loads the repaired param", runs["load"], 0.1, note)


def _measure_growth(shop: Workshop) -> Iterator[Figure]:
    runs = race(
        {str(size): shop.fix(_graphs(shop, size) if size != LAYERS else shop.home / f"graphs-{size}",
                             "--no-load-check") for size in SIZES},
        shop.rounds(5),
    )  # fmt: skip
    least = min(SIZES)
    for size in SIZES[1:]:
        yield Figure(
            LINEAR,
            f"fix --no-load-check, {shop.scale(size):,} layers",
            runs[str(size)],
            f"{shop.scale(least):,} layers",
            runs[str(least)],
            size / least,
            "Every fiftieth layer is a leaked clamp. The bar is the ratio of the sizes.",
        )


def _measure_python(shop: Workshop) -> Iterator[Figure]:
    folder = shop.folder("python")
    write_python(folder, shop.scale(LAYERS), shop.scale(LEAKS))
    source = folder / "m_pnnx.py"
    fix = race({"fix": shop.fix(folder)}, shop.rounds(5))["fix"]
    # Half a minute, so once, and without a warming run before it.
    libcst = program("whole_libcst", source, shop.home / "printed.py")
    floor = race({"floor": libcst}, 1, warm_up=False)["floor"]
    yield Figure(
        PYTHON,
        f"fix, _pnnx.py of {shop.scale(LAYERS):,} statements, {shop.scale(LEAKS):,} leaked calls",
        fix,
        "libcst parses, visits and prints the whole module",
        floor,
        1 / 20,
        f"The file has {source.stat().st_size / 1e6:.1f} MB. The floor ran once, after the runs of `fix`.",
    )
