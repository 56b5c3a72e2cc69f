"""The fixtures are what `fixtures/build.py` wrote: every case, no file more, no byte changed by hand."""

from __future__ import annotations

import hashlib
import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from pnnxfix.rules.cases import RELEASES, Case, Clean, Refused

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
MANIFEST: dict[str, Any] = json.loads((FIXTURES / "MANIFEST.json").read_text())["cases"]
CASES: list[Case] = runpy.run_path(str(FIXTURES / "networks.py"))["CASES"]

# Where pnnx puts its files, and where those of the twins are.
TREES = {"files": FIXTURES, "native": FIXTURES / "native"}


def expected_files(release: str) -> dict[Path, str]:
    """The files that the manifest lists for a release, with their SHA-256."""
    return {
        root / release / case / name: digest
        for key, root in TREES.items()
        for case, entry in MANIFEST.items()
        for name, digest in entry[key].get(release, {}).items()
    }


@pytest.mark.parametrize("release", RELEASES)
def test_files_are_those_of_the_manifest(release: str) -> None:
    found = {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for root in TREES.values()
        for path in (root / release).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    expected = expected_files(release)
    assert sorted(found.keys() ^ expected.keys()) == []
    assert sorted(path for path, digest in expected.items() if found[path] != digest) == []


def test_no_release_folder_is_unknown() -> None:
    folders = {path.name for root in TREES.values() for path in root.iterdir() if path.name.isdigit()}
    assert folders == set(RELEASES)


def test_case_ids_are_unique() -> None:
    ids = [case.id for case in CASES]
    assert sorted(ids) == sorted(set(ids))


def test_manifest_lists_the_cases_in_order() -> None:
    assert list(MANIFEST) == [case.id for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case_is_built_as_it_is_written(case: Case) -> None:
    entry = MANIFEST[case.id]
    written = (case.expression, case.inputs, case.setup, case.twin)
    assert (entry["expression"], entry["inputs"], entry["setup"], entry["twin"]) == written
    assert tuple(entry["files"]) == case.releases
    assert tuple(entry["native"]) == case.twin_releases
    for files in entry["files"].values():
        stem = case.stem.replace("-", "_")
        graphs = {f"{stem}.pnnx.param", f"{stem}.ncnn.param", f"{stem}_pnnx.py", f"{stem}_ncnn.py"}
        assert graphs | {f"{case.stem}.pt", "pnnx.log", "io.npz"} <= files.keys()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_pnnx_leaves_the_operator_behind_unless_the_case_is_clean(case: Case) -> None:
    name = f"{case.stem.replace('-', '_')}.ncnn.param"
    for release in case.releases:
        graph = (FIXTURES / release / case.id / name).read_text()
        types = {row.split()[0] for row in graph.splitlines()[2:]}
        leaked = types & {"aten::clamp_min", "aten::clamp_max", "torch.clamp"}
        assert bool(leaked) != isinstance(case, Clean)


def test_a_refusal_says_why() -> None:
    assert all(case.because for case in CASES if isinstance(case, Refused))
