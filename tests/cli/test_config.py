"""`[tool.pnnxfix]`: what is read, from where, and what is said about a fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from pnnxfix.cli.config import find_config, load_config
from pnnxfix.cli.settings import make_options
from pnnxfix.errors import PnnxfixError

FULL = """
[tool.pnnxfix]
select = ["PNX1"]
ignore = ["PNX102"]
custom-layers = ["Focus"]
exclude = ["old"]
style = "clamp"
fuse = false
load-check = true
[tool.pnnxfix.per-file-ignores]
"*_pnnx.py" = ["PNX101"]
"""


def write(folder: Path, text: str | bytes, name: str = "pyproject.toml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_every_key_reaches_the_options(tmp_path: Path) -> None:
    write(tmp_path, FULL)
    options = make_options((tmp_path / "deep" / "model.ncnn.param",), None, {})
    assert options.select == ("PNX1",)
    assert options.ignore == ("PNX102",)
    assert options.custom_layers == {"Focus"}
    assert options.exclude == ("old",)
    assert options.per_file_ignores == {"*_pnnx.py": ("PNX101",)}
    assert (options.style, options.fuse, options.load_check) == ("clamp", False, True)


def test_the_documented_settings_load(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "output.md").read_text()
    write(tmp_path, text.partition("```toml\n")[2].partition("```")[0])
    options = make_options((tmp_path,), None, {})
    assert options.select
    assert options.exclude
    assert options.per_file_ignores
    assert options.load_check is True


def test_the_command_line_overrides(tmp_path: Path) -> None:
    write(tmp_path, FULL)
    options = make_options((tmp_path,), None, {"style": "operator", "select": ("PNX9",), "fuse": True})
    assert (options.style, options.select, options.fuse, options.ignore) == (
        "operator",
        ("PNX9",),
        True,
        ("PNX102",),
    )


def test_the_nearest_file_with_the_table_counts(tmp_path: Path) -> None:
    outer = write(tmp_path, FULL)
    write(tmp_path / "a" / "b", "[tool.other]\n")
    assert find_config(tmp_path / "a" / "b" / "model.ncnn.param") == outer
    inner = write(tmp_path / "a", "[tool.pnnxfix]\nfuse = true\n")
    assert find_config(tmp_path / "a" / "b") == inner


def test_globs_with_a_slash_count_from_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, '[tool.pnnxfix]\nexclude = ["models/old", "x?"]\n')
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path / "models")
    options = make_options((Path("."),), None, {})
    assert options.exclude == (f"{tmp_path}/models/old", "../models/old", "x?")
    monkeypatch.chdir(tmp_path)
    assert make_options((Path("."),), None, {}).exclude[1] == "models/old"
    assert make_options((Path("."),), None, {"exclude": ("./a/b/",)}).exclude == (f"{tmp_path}/a/b", "a/b")


def test_a_named_file_counts(tmp_path: Path) -> None:
    write(tmp_path, FULL)
    other = write(tmp_path, '[tool.pnnxfix]\nstyle = "operator"\n', "other.toml")
    assert make_options((tmp_path,), other, {}).style == "operator"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(
            '[tool.pnnxfix]\nselct = ["PNX1"]\n', ["no key 'selct'", "did you mean 'select'"], id="misspelt"
        ),
        pytest.param(
            "[tool.pnnxfix]\nload_check = true\n", ["'load_check'", "'load-check'"], id="underscore"
        ),
        pytest.param(
            "[tool.pnnxfix]\nzzz = 1\n", ["'zzz'", "the keys are", "'per-file-ignores'"], id="unknown"
        ),
        pytest.param(
            '[tool.pnnxfix]\nselect = "PNX1"\n', ["select:", "list of strings", "'PNX1'"], id="string"
        ),
        pytest.param("[tool.pnnxfix]\nignore = [1]\n", ["ignore:", "list of strings"], id="list-of-int"),
        pytest.param('[tool.pnnxfix]\nfuse = "no"\n', ["fuse:", "true or false", "'no'"], id="bool"),
        pytest.param('[tool.pnnxfix]\nstyle = "torch"\n', ["style:", "'operator', 'clamp'"], id="style"),
        pytest.param("[tool.pnnxfix]\nstyle = []\n", ["style:", "not []"], id="style-type"),
        pytest.param(
            '[tool.pnnxfix]\nper-file-ignores = ["a"]\n', ["per-file-ignores:", "table"], id="table"
        ),
        pytest.param(
            '[tool.pnnxfix.per-file-ignores]\na = "PNX1"\n', ["per-file-ignores:", "list"], id="inner"
        ),
        pytest.param("[tool.pnnxfix]\nselect = [\n", ["is not valid TOML"], id="toml"),
        pytest.param(b"[tool.pnnxfix]\n# \xff\n", ["is not valid TOML"], id="utf-8"),
        pytest.param("[tool.pnnxfix]\na = " + "[" * 99_999, ["pyproject.toml"], id="deep"),
        pytest.param("# tool.pnnxfix\n", ["holds no table [tool.pnnxfix]"], id="no-table"),
        pytest.param("tool.pnnxfix = 3\n", ["holds no table [tool.pnnxfix]"], id="no-table-but-a-number"),
    ],
)
def test_faults_name_file_key_and_remedy(tmp_path: Path, text: str | bytes, words: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(PnnxfixError) as caught:
        load_config(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize("key", ["select", "ignore"])
def test_a_code_that_no_rule_has_is_an_error(tmp_path: Path, key: str) -> None:
    write(tmp_path, f'[tool.pnnxfix]\n{key} = ["PNX1", "PNX10l"]\n')
    with pytest.raises(PnnxfixError, match=f"pyproject.toml: {key}: .*'PNX10l'"):
        make_options((tmp_path,), None, {})
    with pytest.raises(PnnxfixError, match=f"--{key}: .*'XYZ'"):
        make_options((tmp_path,), None, {"select": ("PNX1",), "ignore": ("PNX1",), key: ("XYZ",)})
