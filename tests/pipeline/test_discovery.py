"""Which files make a conversion, and which paths hold one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnnxfix.pipeline.discovery import classify, find_conversions

ALL = (
    "m.pnnx.param",
    "m.pnnx.bin",
    "m_pnnx.py",
    "m.pnnx.onnx",
    "m.ncnn.param",
    "m.ncnn.bin",
    "m_ncnn.py",
    "m.pt",
)


def make(home: Path, *names: str) -> Path:
    for name in names:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(b"")
    return home


def stems(*paths: Path, exclude: tuple[str, ...] = ()) -> list[str]:
    return [c.stem.name for c in find_conversions(list(paths), exclude)[0]]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".param",
        "_pnnx.py",
        "pnnx.py",
        "a.bin",
        "a.onnx",
        "a.py",
        "a.paramx",
        "debug.param",
        "debug2.param",
        "a.pnnx.bin",
        "a.NCNN.PARAM.txt",
        "param",
        "a.param.bak",
    ],
)
def test_no_file_of_a_conversion(name: str) -> None:
    assert classify(name) is None


@pytest.mark.parametrize(
    ("name", "stem", "role"),
    [
        ("m.pnnx.param", "m", "pnnx.param"),
        ("m.ncnn.param", "m", "ncnn.param"),
        ("m.ncnn.bin", "m", "ncnn.bin"),
        ("m_pnnx.py", "m", "pnnx.py"),
        ("m_ncnn.py", "m", "ncnn.py"),
        ("m.pnnx.onnx", "m", "pnnx.onnx"),
        ("a.b.c.ncnn.param", "a.b.c", "ncnn.param"),
        ("m.param", "m", "param"),
        ("m.ncnn.param.param", "m.ncnn.param", "param"),
    ],
)
def test_roles(name: str, stem: str, role: str) -> None:
    assert classify(name) == (stem, role)


@given(st.text(max_size=40))
def test_a_name_is_its_stem_and_a_suffix(name: str) -> None:
    known = classify(name)
    if known is not None:
        assert known[0]
        assert name.startswith(known[0])


def test_each_file_given_by_hand_finds_all_siblings(tmp_path: Path) -> None:
    make(tmp_path, *ALL, "other.ncnn.param", "run.log")
    for name in ALL:
        if name in {"m.pt", "m.pnnx.bin"}:
            continue
        (conversion,), problems, _ = find_conversions([tmp_path / name])
        assert not problems
        assert conversion.stem == tmp_path / "m"
        assert set(conversion.files.values()) == {tmp_path / n for n in ALL if n != "m.pnnx.bin"}
        assert conversion.logs == [tmp_path / "run.log"]


def test_a_conversion_given_twice_is_one(tmp_path: Path) -> None:
    make(tmp_path, *ALL)
    paths = [tmp_path, tmp_path / "m.ncnn.param", tmp_path / "m_pnnx.py", tmp_path]
    conversions, problems, _ = find_conversions(paths)
    assert [c.stem.name for c in conversions] == ["m"]
    assert not problems


def test_several_in_one_directory_and_below(tmp_path: Path) -> None:
    make(tmp_path, "b.ncnn.param", "a.pnnx.param", "sub/deep/c_pnnx.py", "sub/d.param")
    assert stems(tmp_path) == ["a", "b", "d", "c"] or stems(tmp_path) == ["a", "b", "c", "d"]
    conversions, _, directories = find_conversions([tmp_path])
    assert [c.stem for c in conversions] == sorted(c.stem for c in conversions)
    assert directories == {tmp_path, tmp_path / "sub", tmp_path / "sub" / "deep"}


@pytest.mark.parametrize(
    "place", [".git", ".venv", "venv", "node_modules", "__pycache__", "site-packages", "mine"]
)
def test_environments_and_caches_are_passed_over(tmp_path: Path, place: str) -> None:
    make(tmp_path, "a.ncnn.param", f"{place}/b.ncnn.param")
    if place == "mine":
        (tmp_path / place / "pyvenv.cfg").write_bytes(b"")
    assert stems(tmp_path) == ["a"]
    assert stems(tmp_path / place) == ["b"]  # given by hand, it is searched


@pytest.mark.parametrize("pattern", ["b.*", "*/b.ncnn.param", "sub"])
def test_excluded(tmp_path: Path, pattern: str) -> None:
    make(tmp_path, "a.ncnn.param", "sub/b.ncnn.param")
    assert stems(tmp_path, exclude=(pattern,)) == ["a"]


def test_a_plain_param_beside_its_bin(tmp_path: Path) -> None:
    make(tmp_path, "m.param", "m.bin")
    (conversion,), _, _ = find_conversions([tmp_path])
    assert conversion.files == {"param": tmp_path / "m.param", "ncnn.bin": tmp_path / "m.bin"}


def test_a_plain_param_beside_a_named_one_is_a_model_of_its_own(tmp_path: Path) -> None:
    make(tmp_path, "m.param", "m.ncnn.param", "m.ncnn.bin")
    conversions, _, _ = find_conversions([tmp_path])
    assert [sorted(c.files) for c in conversions] == [["ncnn.bin", "ncnn.param"], ["param"]]
    (by_hand,), problems, _ = find_conversions([tmp_path / "m.param"])
    assert by_hand.files["param" if "param" in by_hand.files else "ncnn.param"].name == "m.param"
    assert not problems


@pytest.mark.parametrize("traced", ["my-net.pt", "my_net.pt", "my-net.torchscript"])
def test_a_dash_of_the_input_is_an_underscore_of_the_output(tmp_path: Path, traced: str) -> None:
    make(tmp_path, "my_net.ncnn.param", traced, "other.pt")
    (conversion,), _, _ = find_conversions([tmp_path])
    assert conversion.files["torchscript"].name == traced


@pytest.mark.parametrize("names", [(), ("a.txt",), ("m.ncnn.bin",), ("m_ncnn.py",), ("debug.param",)])
def test_a_directory_without_a_conversion_is_a_problem(tmp_path: Path, names: tuple[str, ...]) -> None:
    make(tmp_path, *names)
    conversions, problems, _ = find_conversions([tmp_path])
    assert not conversions
    assert [problem.path for problem in problems] == [tmp_path]


def test_each_bad_path_is_its_own_problem(tmp_path: Path) -> None:
    """Also an empty directory after a path that is missing."""
    (tmp_path / "empty").mkdir()
    paths = [tmp_path / "nobody", tmp_path / "empty", tmp_path / "nobody.ncnn.param"]
    _, problems, _ = find_conversions(paths)
    assert [problem.path for problem in problems] == paths


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_loops_of_directories_end(tmp_path: Path) -> None:
    make(tmp_path, "sub/a.ncnn.param")
    (tmp_path / "sub" / "back").symlink_to(tmp_path)
    (tmp_path / "sub" / "self").symlink_to("self")
    assert stems(tmp_path) == ["a"]


def test_a_thousand_levels_are_walked(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(150):
        deep = deep / "d"
    make(deep, "a.ncnn.param")
    assert stems(tmp_path) == ["a"]
