"""Stored tensors: what is read from a `.pnnx.bin`, and what is refused."""

from __future__ import annotations

import struct
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pnnxfix.codecs.pnnx_bin import FORMATS, MAX_NUMBERS, read_tensor
from pnnxfix.errors import ParseError


def write(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("dtype", "numbers"),
    [
        ("i64", (-1, 0, 1 << 40)),
        ("i32", (-7, 8, 9)),
        ("u8", (0, 1, 255)),
        ("bool", (1, 0, 1)),
        ("f32", (0.5, -2.0, 3.25)),
        ("f64", (0.1, 1e300, -0.0)),
        ("f16", (0.5, 1.0, -2.0)),
    ],
)
def test_reads_every_type(tmp_path: Path, dtype: str, numbers: tuple[float, ...]) -> None:
    data = struct.pack(f"<3{FORMATS[dtype]}", *numbers)
    path = write(tmp_path / "model.pnnx.bin", {"pnnx_0.data": data, "other.data": b"12"})
    for shape in ((3,), (1, 3), (3, 1, 1)):
        assert read_tensor(path, "pnnx_0.data", shape, dtype) == numbers


def test_reads_a_number_without_axes(tmp_path: Path) -> None:
    path = write(tmp_path / "model.pnnx.bin", {"a.data": struct.pack("<q", 5)})
    assert read_tensor(path, "a.data", (), "i64") == (5,)


@pytest.mark.parametrize(
    ("shape", "dtype", "reason"),
    [
        ((2,), "i64", "has 24 bytes"),
        ((4,), "i64", "has 24 bytes"),
        ((3,), "c64", "type c64"),
        ((-1,), "i64", "which is not read"),
        ((MAX_NUMBERS + 1,), "i64", "more than"),
    ],
)
def test_refuses_what_does_not_fit(tmp_path: Path, shape: tuple[int, ...], dtype: str, reason: str) -> None:
    path = write(tmp_path / "model.pnnx.bin", {"a.data": bytes(24)})
    with pytest.raises(ParseError, match=reason):
        read_tensor(path, "a.data", shape, dtype)


def test_refuses_what_is_no_such_file(tmp_path: Path) -> None:
    packed = write(tmp_path / "packed.bin", {"a.data": bytes(24)}, zipfile.ZIP_DEFLATED)
    text = tmp_path / "text.bin"
    text.write_bytes(b"no zip")
    whole = write(tmp_path / "whole.bin", {"b.data": bytes(24)})
    for path, reason in (
        (packed, "compressed"),
        (text, "not a zip"),
        (whole, "no entry a.data"),
        (tmp_path / "absent.bin", "cannot be read"),
    ):
        with pytest.raises(ParseError, match=reason):
            read_tensor(path, "a.data", (3,), "i64")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_survives_damage(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("damage") / "model.pnnx.bin"
    whole = bytearray(write(path, {"a.data": bytes(24), "b.data": bytes(8)}).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    # Nothing but a ParseError may come out; zipfile finds most damage by its checksums.
    with suppress(ParseError):
        assert len(read_tensor(path, "a.data", (3,), "i64")) == 3
