"""What a git hook waits for: one small directory, clean or with one leaked operator."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from figures import Figure
from measure import Contender, race
from workshop import FIXTURES, RELEASE, Workshop, imports, pnnxfix, program

SECTION = "One directory"
CASE = "conv2d"


def measure(shop: Workshop) -> Iterator[Figure]:
    """`check` where nothing is wrong and `fix` where something is, beside bare imports."""
    leaked = FIXTURES / RELEASE / CASE
    folder = shop.folder("one")
    for path in leaked.glob("model*"):
        shutil.copy(path, folder)
    clean = shop.folder("clean")
    for path in folder.iterdir():
        shutil.copy(path, clean)
    for path in (FIXTURES / "native" / RELEASE / CASE).iterdir():
        shutil.copy(path, clean)
    # pnnx wrote no Python for the twin that is stored: the repaired one is the same code.
    repair = shop.fix(folder, "--no-load-check")
    race({"repair": repair}, 1, warm_up=False)
    shutil.copy(folder.with_name("one-fixed") / "model_pnnx.py", clean)

    runs = race(
        {"check": Contender([*pnnxfix("check"), str(clean)]), "floor": imports("click")}, shop.rounds(30)
    )
    yield Figure(
        SECTION, "check, nothing wrong", runs["check"], 'python -c "import click"', runs["floor"], 1.5
    )

    fix = shop.fix(folder)
    changed = [
        folder.with_name("one-fixed") / path.name for path in folder.glob("model*") if _is_changed(path.name)
    ]
    runs = race(
        {
            "fix": fix,
            "disk": program("write_through", *changed, inner=True),
            "floor": imports("click, libcst, ncnn"),
        },
        shop.rounds(20),
    )
    wait = f"{runs['disk'].best * 1000:.1f} ms (median {runs['disk'].median * 1000:.1f} ms)"
    yield Figure(
        SECTION,
        "fix, a leaked clamp in it",
        runs["fix"],
        'python -c "import click, libcst, ncnn"',
        runs["floor"],
        1.5,
        f"`fix` holds the wait for the disk: writing its {len(changed)} files through, without a journal, "
        f"takes {wait} here. CPU counts the child process, too, in which ncnn loads the result.",
    )


def _is_changed(name: str) -> bool:
    return name.endswith((".ncnn.param", ".pnnx.param", "_pnnx.py", ".onnx"))
