"""`pnnxfix convert` with the real pnnx: what it writes, what it says, and its exit code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pnnxfix.conversion.arguments import Arguments, read_arguments
from pnnxfix.conversion.blame import check_inputs
from pnnxfix.conversion.convert import _with_shapes
from pnnxfix.conversion.log import read_log
from pnnxfix.conversion.staging import Stage
from pnnxfix.errors import PnnxfixError

if TYPE_CHECKING:
    from conftest import Place

pytest.importorskip("pnnx", reason="the command runs the real pnnx")
FIXTURES = Path(__file__).parents[2] / "fixtures"

SHAPE = "inputshape=[1,3,8,8]"
SUFFIXES = (".pnnx.param", ".pnnx.bin", "_pnnx.py", ".pnnx.onnx", ".ncnn.param", ".ncnn.bin", "_ncnn.py")


def outputs(stem: str) -> set[str]:
    return {f"{stem}{suffix}" for suffix in SUFFIXES} | {f"{stem}.pnnx.log"}


def test_a_clean_model(place: Place) -> None:
    place.put("clean")
    done = place.run("clean.pt", SHAPE)
    assert (done.code, done.err) == (0, "")
    assert "0 findings repaired, 0 left" in done.out
    assert done.out.endswith("Works: the ncnn model gives PyTorch's numbers.\n")
    assert place.names() == outputs("clean") | {"clean.pt"}
    assert "pass_ncnn" in (place.path / "clean.pnnx.log").read_text()


def test_a_model_that_leaks_and_whose_python_does_not_parse(place: Place) -> None:
    place.put("leaks")
    done = place.run("leaks.pt", SHAPE, "--output-format", "json")
    report = json.loads(done.out)
    assert done.code == report["exit_code"] == 0
    assert {"PNX101"} <= {finding["code"] for finding in report["fixed"]}
    assert report["findings"] == []
    assert {form["form"]: form["state"] for form in report["attempts"][0]["forms"]} == {
        "ncnn": "agrees",
        "python": "agrees",
    }
    assert report["attempts"][0]["milliseconds"] > 0
    assert {"pnnx", "torch", "ncnn", "python"} == set(report["versions"])
    (line,) = report["console"]
    assert (line["code"], line["verdict"]) == ("PNX502", "harmless")
    compile((place.path / "leaks_pnnx.py").read_text(), "leaks_pnnx.py", "exec")
    # Nothing tells that the files were made elsewhere.
    for name in outputs("leaks") - {"leaks.pnnx.bin", "leaks.ncnn.bin"}:
        assert b".pnnxfix-" not in (place.path / name).read_bytes(), name


def test_a_rounding_that_pnnx_drops_is_written_where_it_is_certain(place: Place) -> None:
    place.put("rounds")
    done = place.run("rounds.pt", SHAPE, "fp16=0", "--output-format", "json")
    report = json.loads(done.out)
    assert (done.code, report["findings"]) == (0, [])
    assert [finding["code"] for finding in report["fixed"]].count("PNX150") == 3
    assert {form["state"] for form in report["attempts"][0]["forms"]} == {"agrees"}

    place.put("rounds-some")
    done = place.run("rounds-some.pt", SHAPE, "fp16=0", "--output-format", "json")
    left = [finding for finding in json.loads(done.out)["findings"] if finding["code"] == "PNX150"]
    assert done.code == 1
    assert len(left) == 2  # each of the two divisions may be the one
    assert all("rounding_mode='floor' of this layer, or of another" in finding["message"] for finding in left)


def test_a_model_of_which_pnnx_dies(place: Place) -> None:
    place.put("crashes")
    done = place.run("crashes.pt", SHAPE)
    assert done.code == 1
    assert "it dies of aten::mul at " in done.out
    assert "networks.py:21 (of the first" in done.out
    assert place.names() == {"crashes.pt", "crashes.pnnx.log"}


def test_a_model_that_cannot_be_rescued(place: Place) -> None:
    place.put("lost")
    done = place.run("lost.pt", SHAPE)
    assert done.code == 1
    assert "aten::special_airy_ai" in done.out
    assert "Does not work" in done.out
    assert place.names() == outputs("lost") | {"lost.pt"}


def test_a_model_that_cannot_be_compared_says_why(place: Place) -> None:
    place.put("random")
    done = place.run("random.pt", SHAPE)
    assert done.code == 1  # an operator is left, too
    assert "ncnn unknown (there is nothing to compare it with)" in done.out
    assert "random.pt: is not deterministic: two runs on one input give another out0" in done.out


WRONG_CHANNELS = (
    "Given groups=1, weight of size [4, 3, 3, 3], expected input[1, 4, 8, 8] to have 3 channels, "
    "but got 4 channels instead"
)


@pytest.mark.parametrize(
    ("shapes", "said", "refused"),
    [
        ("[1,4,8,8]", f"RuntimeError: {WRONG_CHANNELS}", WRONG_CHANNELS),
        (
            "[1,3,8,8],[1]",
            "  what():  Expected at most 2 argument(s) for operator 'forward', but",
            "3 arg",
        ),
        # PyTorch refuses it for a reason that is not that of pnnx's death.
        ("[1,4,8,8]", "RuntimeError: svd: LAPACK library not found in compilation", ""),
        ("[1,3,8,8]", f"RuntimeError: {WRONG_CHANNELS}", ""),
    ],
)
def test_releases_that_do_not_compare_shapes_die_of_them(
    place: Place, shapes: str, said: str, refused: str
) -> None:
    arguments = read_arguments([str(place.put("clean")), f"inputshape={shapes}"])
    path = place.path / "pnnx.log"
    path.write_text(f"pnnxparam = a\n############# pass_level0\nterminate called after throwing\n{said}\n")
    if not refused:
        return check_inputs(arguments, read_log(path))
    with pytest.raises(PnnxfixError, match="PyTorch does not run it on inputshape=") as error:
        check_inputs(arguments, read_log(path))
    assert refused in str(error.value)
    return None


def test_the_better_of_two_ways_is_kept(place: Place) -> None:
    original = place.put("rewritten").read_bytes()
    done = place.run("--prepare", "rewritten.pt", SHAPE, "--output-format", "json")
    report = json.loads(done.out)
    assert done.code == 0, done
    assert [attempt["way"] for attempt in report["attempts"]] == ["as given", "prepared"]
    assert report["attempts"][1]["rewritten"] == {"aten::addcmul": 1}
    assert report["kept"] in ("as given", "prepared")
    assert report["reason"]
    assert place.names() == outputs("rewritten") | {"rewritten.pt", "rewritten.prepared.pt"}
    assert (place.path / "rewritten.pt").read_bytes() == original


def test_nothing_to_prepare(place: Place) -> None:
    place.put("clean")
    done = place.run("--prepare", "clean.pt", SHAPE)
    assert done.code == 0
    assert "nothing of the model is known to convert better" in done.out
    assert "clean.prepared.pt" not in place.names()


def test_names_and_places_are_those_of_pnnx(place: Place) -> None:
    (place.path / "sub").mkdir()
    place.put("in-two-words", "sub/in-two-words.pt")
    done = place.run("sub/in-two-words.pt", SHAPE, "fp16=0", "ncnnpy=run-it.py")
    assert done.code == 0
    script = (place.path / "run-it.py").read_text()
    assert 'load_param("sub/in_two_words.ncnn.param")' in script
    assert "ZipFile('sub/in_two_words.pnnx.bin'" in (place.path / "sub/in_two_words_pnnx.py").read_text()
    assert 'mod.save("sub/in_two_words_pnnx.py.pt")' in (place.path / "sub/in_two_words_pnnx.py").read_text()


def test_what_was_there_is_replaced_only_by_a_whole_conversion(place: Place) -> None:
    place.put("crashes")
    (place.path / "crashes.ncnn.param").write_text("mine")
    assert place.run("crashes.pt", SHAPE).code == 1
    assert (place.path / "crashes.ncnn.param").read_text() == "mine"


BAD_INPUT = {
    "no-file": ("none.pt", (), "none.pt: there is no such file"),
    "state-dict": ("state-dict.pt", (SHAPE,), "not a TorchScript archive"),
    "how-to-save": ("state-dict.pt", (SHAPE,), "torch.jit.trace"),
    "code-that-is-none": ("broken.pt", (SHAPE,), "broken.pt: pnnx dies of reading it: Unexpected token"),
    "no-graphics-card": ("clean.pt", (SHAPE, "device=gpu"), "pnnx dies of reading it: PyTorch is not linked"),
    "inputs-not-stated": ("scripted.pt", (), "give inputshape="),
    "other-shape": ("clean.pt", ("inputshape=[1,3]",), "expect [1,3,8,8]f32 but got [1,3]f32"),
    "too-many-inputs": ("clean.pt", ("inputshape=[1,3,8,8],[1]",), "expect 1 tensors but got 2"),
    "space-in-shape": ("clean.pt", ("inputshape=[1, 3,8,8]",), "is no list of shapes"),
    "two-words": ("clean.pt", ("inputshape=[1,", "3,8,8]"), "is not KEY=VALUE"),
    "empty-axis": ("clean.pt", ("inputshape=[1,0]",), "axis of size 0"),
    "misspelt-key": ("clean.pt", ("inputshap=[1]",), "did you mean inputshape=?"),
    "key-twice": ("clean.pt", ("fp16=0", "fp16=1"), "given twice"),
    "no-value": ("clean.pt", ("optlevel=7",), "one of 0, 1, 2"),
    "no-directory": ("clean.pt", ("ncnnparam=no/x.param",), "no such directory"),
    "directory": ("clean.pt", ("ncnnparam=.",), "is a directory"),
    "one-name-twice": ("clean.pt", ("ncnnparam=a", "ncnnbin=a"), "the same name"),
    "no-custom-op": ("clean.pt", ("customop=no.so",), "there is no such file"),
    "conflict": ("clean.pt", (SHAPE, "input=clean.pt"), "cannot be given together"),
    "no-program": ("clean.pt", (SHAPE, "--pnnx", "nothing"), "no program that can be run"),
    "no-time": ("clean.pt", (SHAPE, "--timeout", "0"), "not in the range x>0"),
    "no-number": ("clean.pt", (SHAPE, "--timeout", "nan"), "nan is not a finite number"),
    "no-argument": ("", (), "Missing argument"),
}


@pytest.mark.parametrize(("model", "words", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_has_one_clear_message(
    place: Place, model: str, words: tuple[str, ...], message: str
) -> None:
    for name in ("clean", "broken", "state-dict", "scripted"):
        place.put(name)
    before = place.names()
    done = place.run(*filter(None, (model, *words)))
    assert done.code == 2
    assert done.out == ""
    assert message in done.err
    assert done.err.count("\n") == 1
    assert place.names() == before


def test_no_pnnx_installed(place: Place) -> None:
    place.put("clean")
    blind = "import sys; sys.modules['pnnx'] = None; from importlib import util; find = util.find_spec; " \
            "util.find_spec = lambda name, *a: None if name == 'pnnx' else find(name, *a); " \
            "from pnnxfix.cli.main import main; sys.exit(main(sys.argv[1:]))"  # fmt: skip
    done = place.run("convert", "clean.pt", SHAPE, code=blind)
    assert done.code == 2
    assert 'pip install "pnnxfix[convert]"' in done.err
    assert place.names() == {"clean.pt"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_an_output_that_is_a_device_stays_one(place: Place) -> None:
    place.put("clean")
    os.mkfifo(place.path / "device")
    done = place.run("clean.pt", SHAPE, "ncnnbin=device")
    assert done.code == 2
    assert "device: is there, and is no file" in done.err
    assert (place.path / "device").is_fifo()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="Linux's /proc is what root cannot write, either")
def test_a_directory_that_nobody_can_write(place: Place) -> None:
    place.put("clean")
    names = ("pnnxparam", "pnnxbin", "pnnxpy", "pnnxonnx", "ncnnparam", "ncnnbin", "ncnnpy")
    done = place.run("clean.pt", SHAPE, *(f"{name}=/proc/self/{name}" for name in names))
    assert done.code == 2
    assert "cannot be written" in done.err
    assert place.names() == {"clean.pt"}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_directory_that_cannot_be_written(place: Place) -> None:
    place.put("clean")
    place.path.chmod(0o555)
    try:
        done = place.run("clean.pt", SHAPE)
    finally:
        place.path.chmod(0o755)
    assert done.code == 2
    assert "cannot be written" in done.err


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root mounts a small disk")
def test_a_full_disk(place: Place, models: Path) -> None:
    disk = place.path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("no mounting here")
    try:
        names = ("pnnxparam", "pnnxbin", "pnnxpy", "pnnxonnx", "ncnnparam", "ncnnbin", "ncnnpy")
        words = [f"{name}=disk/{name}" for name in names]
        done = place.run(str(models / "large.pt"), "inputshape=[1,300]", *words)
        left = list(disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert done.code == 2
    assert "the disk is full" in done.err
    assert left == []


@pytest.mark.parametrize("given", [{}, {"inputshape": "[9,9]"}, {"input": "x.npy"}])
def test_a_prepared_model_is_given_the_shapes_of_the_trace(tmp_path: Path, given: dict[str, str]) -> None:
    stage = Stage(tmp_path, Arguments(Path("model.pt"), given))
    shutil.copy(FIXTURES / "20261020" / "two-inputs" / "pnnx.log", stage.log)
    shaped = _with_shapes(stage.arguments, stage)
    assert shaped is not None
    assert shaped.options == (given or {"inputshape": "[1,3,8,8]f32,[1,3,8,8]f32"})
    stage.log.write_text("inputshape = \n")
    assert (_with_shapes(stage.arguments, stage) is None) is not bool(given)
