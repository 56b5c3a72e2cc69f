"""A conversion may hold any subset of its files: repaired where a value is to be had, refused otherwise."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pnnxfix.options import Options
from pnnxfix.pipeline.run import fix_paths
from tests.helpers.conversions import FAMILY, REPAIRED, Stored, find_stored, fix_folder, repair, stamps

NCNN = (".ncnn.param", ".ncnn.bin", "_ncnn.py")
GRAPH = ".ncnn.param"
ROUND = ["conv2d", "conv1d", "clamp-min-tenth", "shared-bound", "chain", "conv2d-two-consumers"]
"""Cases whose bounds no release rounds to another float32."""

# 1e-7 printed as 0.000000, and 10**10 with its low 32 bits.
DESTROYED = [
    ("20250430", "clamp-min-tiny"),
    ("20250430", "clamp-min-eps"),
    ("20250430", "conv2d-int-overflow"),
    ("20261020", "clamp-max-int-overflow"),
    ("20261020", "conv2d-int-overflow"),
]

CASES = [
    find_stored(release, case)
    for release in ("20240226", "20250430", "20261020")
    for case in ROUND
    if case != "chain" or release == "20261020"
]

# This release prints every float32 exactly, so that a value is right wherever it comes from.
LATEST = [stored for stored in REPAIRED if stored.release == "20261020"]

by_case = pytest.mark.parametrize("stored", CASES, ids=lambda stored: stored.id)
by_destroyed = pytest.mark.parametrize(
    "stored", [find_stored(*pair) for pair in DESTROYED], ids=lambda stored: stored.id
)


def put(stored: Stored, folder: Path, *suffixes: str, stem: str = "") -> Path:
    """Copies some files of a conversion, by the ends of their names; `pnnx.log` and `.pt` too."""
    folder.mkdir()
    for suffix in suffixes:
        if suffix == "pnnx.log":
            shutil.copy(stored.folder / suffix, folder)
        else:
            shutil.copy(stored.folder / f"{stored.stem}{suffix}", folder / f"{stem or stored.stem}{suffix}")
    return folder


def bounds(stored: Stored) -> dict[str, str]:
    """What a user would give with `--value`, read in the graph that a small folder has not."""
    found = {}
    for row in stored.text(".pnnx.param").splitlines():
        words = row.split()
        if words[0] == "pnnx.Expression" and words[2] == "0":
            found[words[1]] = next(word[5:] for word in words if word.startswith("expr="))
    return found


@pytest.mark.parametrize("source", [("pnnx.log",), (".pt",), ("_pnnx.py",), (".pnnx.param",)], ids="+".join)
@by_case
def test_ncnn_files_and_one_source_are_enough(
    stored: Stored, source: tuple[str, ...], base: Path, tmp_path: Path
) -> None:
    folder = put(stored, tmp_path / "conversion", *NCNN, *source)
    report = fix_folder(folder)
    full = repair(stored, base)
    assert report.exit_code == 0
    for suffix in (GRAPH, *source):
        if suffix.endswith(("param", ".py")):
            assert (folder / f"{stored.stem}{suffix}").read_text() == full.text(suffix)


@by_case
def test_ncnn_files_and_given_values_are_enough(stored: Stored, base: Path, tmp_path: Path) -> None:
    folder = put(stored, tmp_path / "conversion", *NCNN)
    report = fix_folder(folder, values=bounds(stored))
    assert report.exit_code == 0
    assert (folder / f"{stored.stem}{GRAPH}").read_text() == repair(stored, base).text(GRAPH)


@pytest.mark.parametrize("suffix", [".pnnx.param", "_pnnx.py"])
@by_case
def test_a_file_alone_is_repaired_as_with_all_others(
    stored: Stored, suffix: str, base: Path, tmp_path: Path
) -> None:
    folder = put(stored, tmp_path / "conversion", suffix)
    report = fix_folder(folder)
    assert report.exit_code == 0
    assert (folder / f"{stored.stem}{suffix}").read_text() == repair(stored, base).text(suffix)


@by_case
def test_ncnn_files_alone_are_refused_with_the_remedy(stored: Stored, tmp_path: Path) -> None:
    folder = put(stored, tmp_path / "conversion", *NCNN)
    before = stamps(folder)
    report = fix_folder(folder)
    assert stamps(folder) == before
    assert report.exit_code == 1
    refused = [finding for finding in report.findings if finding.code in FAMILY.values()]
    # Behind an operator that is not repaired, what a blob holds is not certain either.
    asked = [finding for finding in refused if finding.refusal == "its value is in none of the files"]
    assert asked
    assert all("--value " in finding.help for finding in asked)
    assert all("model.pnnx.param" in finding.help for finding in refused)


def put_plain(stored: Stored, folder: Path) -> Path:
    put(stored, folder)
    shutil.copy(stored.folder / f"{stored.stem}.ncnn.param", folder / "net.param")
    shutil.copy(stored.folder / f"{stored.stem}.ncnn.bin", folder / "net.bin")
    return folder


@pytest.mark.parametrize("release", ["20240226", "20250430", "20261020"])
@pytest.mark.parametrize("source", ["log", "value"])
def test_plain_names_are_repaired_alike(source: str, release: str, base: Path, tmp_path: Path) -> None:
    stored = find_stored(release, "conv2d")
    folder = put_plain(stored, tmp_path / "conversion")
    if source == "log":
        report = fix_folder(folder, logs=(stored.folder / "pnnx.log",))
    else:
        report = fix_folder(folder, values=bounds(stored))
    assert report.exit_code == 0
    assert (folder / "net.param").read_text() == repair(stored, base).text(GRAPH)


@pytest.mark.parametrize("source", ["nothing", "log-of-another-model"])
def test_plain_names_alone_are_refused(source: str, tmp_path: Path) -> None:
    stored = find_stored("20261020", "conv2d")
    folder = put_plain(stored, tmp_path / "conversion")
    if source == "log-of-another-model":
        shutil.copy(stored.folder / "pnnx.log", folder)  # it says that it wrote model.ncnn.param
    before = stamps(folder)
    assert fix_folder(folder).exit_code == 1
    assert stamps(folder) == before


def test_graph_that_does_not_tell_floats_from_integers_is_refused(tmp_path: Path) -> None:
    stored = find_stored("20261020", "clamp-min-tenth")
    folder = put(stored, tmp_path / "conversion", ".ncnn.param", "pnnx.log")
    before = stamps(folder)
    report = fix_folder(folder)
    assert stamps(folder) == before
    refused = [finding for finding in report.findings if finding.code == "PNX101"]
    assert [finding.refusal for finding in refused] == [
        "whether `self` holds floats is not certain from the files"
    ]
    assert "model_ncnn.py" in refused[0].help


def test_refused_graph_can_be_repaired_once_the_missing_file_is_there(base: Path, tmp_path: Path) -> None:
    stored = find_stored("20261020", "clamp-min-tenth")
    folder = put(stored, tmp_path / "conversion", ".ncnn.param", ".ncnn.bin", "_pnnx.py")
    assert fix_folder(folder).exit_code == 1  # whether the input holds floats is in none of them
    shutil.copy(stored.folder / "model_ncnn.py", folder)
    assert fix_folder(folder).exit_code == 0
    assert (folder / "model.ncnn.param").read_text() == repair(stored, base).text(GRAPH)


@pytest.mark.parametrize(
    "source", ["", "pnnx.log", "_pnnx.py", ".pnnx.param"], ids=lambda name: name or "none"
)
@pytest.mark.parametrize("stored", LATEST, ids=lambda stored: stored.id)
def test_ncnn_graph_becomes_the_right_one_or_stays(
    stored: Stored, source: str, base: Path, tmp_path: Path
) -> None:
    folder = put(stored, tmp_path / "conversion", *NCNN, *filter(None, [source]))
    report = fix_folder(folder)
    assert report.all_problems == []
    after = (folder / f"{stored.stem}{GRAPH}").read_text()
    refused = [f for f in report.findings if f.path.name.endswith(GRAPH) and f.code in FAMILY.values()]
    whole = repair(stored, base).text(GRAPH)
    if stored.case.id == "clamp-min-minus-zero":
        whole = whole.replace("-0.00000000e+00", "0.00000000e+00")  # only TorchScript keeps the sign
    assert after == (stored.text(GRAPH) if refused else whole)


# Values that their spelling has destroyed.


@by_destroyed
def test_destroyed_value_without_torchscript_is_refused(stored: Stored, tmp_path: Path) -> None:
    folder = put(stored, tmp_path / "conversion", *NCNN, ".pnnx.param", "_pnnx.py", "pnnx.log")
    before = stamps(folder)
    report = fix_folder(folder)
    assert stamps(folder) == before
    assert report.exit_code == 1
    refused = [finding for finding in report.findings if finding.code in FAMILY.values()]
    assert refused
    assert all("model.pt" in finding.help and "--value " in finding.help for finding in refused)


@by_destroyed
def test_destroyed_value_is_taken_from_torchscript(stored: Stored, base: Path, tmp_path: Path) -> None:
    folder = put(stored, tmp_path / "conversion", *NCNN, ".pt")
    assert fix_folder(folder).exit_code == 0
    assert (folder / f"{stored.stem}{GRAPH}").read_text() == repair(stored, base).text(GRAPH)


def test_sign_of_zero_is_taken_from_torchscript(base: Path) -> None:
    repaired = repair(find_stored("20261020", "clamp-min-minus-zero"), base)
    assert " 0=-0.00000000e+00\n" in repaired.text(GRAPH)


# Sources that disagree.


@pytest.mark.parametrize("edited", ["pnnx.log", "model.pnnx.param", "model_pnnx.py"])
@pytest.mark.parametrize("with_torchscript", [True, False], ids=["torchscript", "no-torchscript"])
@pytest.mark.parametrize("release", ["20240226", "20250430", "20261020"])
def test_sources_that_disagree_stop_the_repair(
    edited: str, with_torchscript: bool, release: str, tmp_path: Path
) -> None:
    stored = find_stored(release, "conv2d")
    folder = stored.copy(tmp_path / "conversion")
    if not with_torchscript:
        (folder / "model.pt").unlink()
    path = folder / edited
    right = bounds(stored)["pnnx_expr_0"]
    wrong = right.replace("5", "6")
    assert wrong != right
    text = path.read_text().replace(f"expr={right}", f"expr={wrong}")
    path.write_text(text.replace(f" = {right}", f" = {wrong}"))
    assert path.read_bytes() != (stored.folder / edited).read_bytes()
    before = stamps(folder)
    report = fix_folder(folder)
    assert stamps(folder) == before
    assert report.exit_code == 2
    assert f" says {wrong}" in report.all_problems[0].message
    assert " says " in report.all_problems[0].message.replace(f" says {wrong}", "")
    assert "--value" in report.all_problems[0].help


def test_given_value_decides_between_sources(base: Path, tmp_path: Path) -> None:
    stored = find_stored("20261020", "conv2d")
    folder = stored.copy(tmp_path / "conversion")
    log = folder / "pnnx.log"
    log.write_text(log.read_text().replace("expr=0.5", "expr=0.75"))
    assert fix_folder(folder, values={"pnnx_expr_0": "0.5"}).exit_code == 0
    assert (folder / "model.ncnn.param").read_text() == repair(stored, base).text(GRAPH)


@pytest.mark.parametrize("name", ["pnnx_expr_0", "1", "v_1"])
def test_given_value_may_use_each_name_of_a_constant(name: str, tmp_path: Path) -> None:
    folder = find_stored("20261020", "clamp-min-tenth").copy(tmp_path / "conversion")
    report = fix_folder(folder, values={name: "0.25"})
    assert " 0=2.50000000e-01\n" in (folder / "model.ncnn.param").read_text()
    assert not any("--value" in note for conversion in report.conversions for note in conversion.notes)


@pytest.mark.parametrize("name", ["pnnx_expr_O", "0", "v_0", "in0", "pnnx_1"])
def test_given_value_for_what_is_no_constant_is_told(name: str, tmp_path: Path) -> None:
    folder = find_stored("20261020", "clamp-min-tenth").copy(tmp_path / "conversion")
    report = fix_folder(folder, values={name: "0.25"})
    assert f"--value {name}: no constant has that name" in report.conversions[0].notes
    assert " 0=1.00000001e-01\n" in (folder / "model.ncnn.param").read_text()


@pytest.mark.parametrize("source", ["--value", "--log"])
def test_given_source_is_for_one_model(source: str, tmp_path: Path) -> None:
    stored = find_stored("20261020", "clamp-min-tenth")
    folders = [stored.copy(tmp_path / name) for name in ("one", "two")]
    before = [stamps(folder) for folder in folders]
    log = folders[0] / "pnnx.log"
    options = Options(values={"1": "0.25"}) if source == "--value" else Options(logs=(log,))
    report = fix_paths([tmp_path], options)
    assert report.exit_code == 2
    assert f"{source} is for one model, and the paths hold 2" in report.all_problems[0].message
    assert [stamps(folder) for folder in folders] == before
    assert fix_paths([folders[0]], options).exit_code == 0
