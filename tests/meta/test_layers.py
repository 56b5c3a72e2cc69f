"""The table of layer types, held against the ncnn that is installed here."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from pnnxfix.data import known_layers

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def make_layers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_layers", ROOT / "scripts" / "make_layers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_names_what_pnnx_and_the_repairs_write() -> None:
    layers = known_layers()
    used = "Input Split Clip ReLU BinaryOp UnaryOp Reshape MemoryData Noop Convolution Embed Bias"
    assert [layer for layer in used.split() if layers.get(layer) != "20240102"] == []
    assert layers["Flip"] == "20250916"


def test_leaves_out_what_is_compiled_out_of_the_wheels() -> None:
    assert {"ArgMax", "SPP", "aten::clamp_min", "pnnx.Expression"}.isdisjoint(known_layers())


def test_cannot_be_changed_by_a_caller() -> None:
    layers = known_layers()
    assert isinstance(layers, Mapping)
    assert not hasattr(layers, "__setitem__")
    assert known_layers() is layers


@pytest.mark.skipif(sys.platform == "win32", reason="the probe forks")
def test_table_agrees_with_the_installed_ncnn(make_layers: ModuleType) -> None:
    pytest.importorskip("ncnn", reason="the table is held against the real ncnn")
    script = str(ROOT / "scripts" / "make_layers.py")
    result = subprocess.run([sys.executable, script, "--probe"], capture_output=True, text=True, check=True)
    version, found = json.loads(result.stdout)
    date = version.removeprefix("1.0.")
    newest = re.search(r"Releases .* 1\.0\.(\d+)\n", (ROOT / "pnnxfix/data/ncnn_layers.txt").read_text())
    assert newest is not None
    if date > newest[1]:
        assert set(found) >= set(known_layers()), "run `make layers`: a type has gone"
    else:
        # A release between two of the table's may already have what the later one is named for.
        assert set(found) >= {layer for layer, first in known_layers().items() if first <= date}
        assert set(found) <= set(known_layers())


def test_candidates_include_names_that_the_linker_merged(make_layers: ModuleType) -> None:
    assert {"RotaryEmbed", "Embed"} <= make_layers.find_candidates(b"\x01RotaryEmbed\0")


def test_a_layer_that_goes_is_named_in_the_head(make_layers: ModuleType) -> None:
    text = make_layers.write_table({"1.0.1": ["Old", "Clip"], "1.0.2": ["Clip", "New"]})
    assert "not in 1.0.2: Old\n" in text
    assert text.endswith("Clip 1\nNew 2\nOld 1\n")
