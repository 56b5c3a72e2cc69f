"""What `make coverage` rests on: isolation, comparison, verdicts, and the report that must not flatter."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scripts.coverage import convert
from scripts.coverage.compare import Tolerance, find_difference, flatten
from scripts.coverage.convert import Pnnx, fill_corpus, find_pnnx
from scripts.coverage.corpus import Case, Record, digest, find_cases
from scripts.coverage.isolate import Died, run_isolated
from scripts.coverage.judge import Verdict, Verdicts, differ_from_blob, judge_ncnn
from scripts.coverage.operators import Unusable, save_sample
from scripts.coverage.repair import Left, Repair
from scripts.coverage.report import Result, write_report

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the scripts fork")

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures"
CLEAN = "20261020/unused-result"
EXACT = Tolerance(1e-4, 1e-5)
inf, nan = math.inf, math.nan


# Isolation


def crash() -> None:
    os.kill(os.getpid(), 9)


def test_a_child_that_dies_costs_its_own_result_only() -> None:
    tasks: list[tuple[str, Callable[[], object]]] = [
        ("crash", crash),
        ("raise", partial(int, "x")),
        ("exit", partial(os._exit, 3)),
        ("none", lambda: None),
        *((f"sum {n}", partial(sum, [n, n])) for n in range(5)),
    ]
    found = dict(run_isolated(tasks, jobs=2, seconds=20))
    assert found.pop("crash") == Died("SIGKILL")
    assert found.pop("raise") == Died("ValueError: invalid literal for int() with base 10: 'x'")
    assert found.pop("exit") == Died("exit code 3")
    assert found == {"none": None, **{f"sum {n}": 2 * n for n in range(5)}}


def test_an_endless_task_ends_with_all_that_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    def hang() -> None:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        pid.write_text(str(child.pid))
        child.wait()

    started = time.monotonic()
    assert list(run_isolated([("hang", hang)], jobs=1, seconds=1)) == [("hang", Died("no answer within 1 s"))]
    assert time.monotonic() - started < 20
    status = Path(f"/proc/{pid.read_text()}/stat")
    assert not status.exists() or status.read_text().split()[2] == "Z"


# Comparison


@pytest.mark.parametrize(
    ("got", "want"),
    [
        pytest.param([1.0, nan, inf], [1.00005, nan, inf], id="nan-and-inf-in-their-places"),
        pytest.param([], [], id="empty"),
        pytest.param([True], [True], id="bool"),
        pytest.param([1 + 2j], [1 + 2j], id="complex"),
    ],
)
def test_equal(got: list[object], want: list[object]) -> None:
    assert find_difference([torch.tensor(got)], [torch.tensor(want)], EXACT) == ""


@pytest.mark.parametrize(
    ("got", "want", "says"),
    [
        pytest.param([1.0, 2.0], [1.0, 2.1], "1 of 2 values: 2 at 1, want 2.1", id="value"),
        pytest.param([nan, 2.0], [1.0, 2.0], "nan at 0, want 1", id="nan-is-not-a-number"),
        pytest.param([1.0], [nan], "1 at 0, want nan", id="number-is-not-nan"),
        pytest.param([-inf], [inf], "-inf at 0, want inf", id="sign-of-inf"),
        pytest.param([[1.0, 2.0]], [1.0, 2.0], "shape (1, 2), want (2,)", id="shape"),
        pytest.param([1.0], [True], "float, want bool", id="kind-bool"),
        pytest.param([1], [1.0], "integer, want float", id="kind-integer"),
        pytest.param([1.0], [1 + 0j], "float, want complex", id="kind-complex"),
    ],
)
def test_different(got: list[object], want: list[object], says: str) -> None:
    difference = find_difference([torch.tensor(got)], [torch.tensor(want)], EXACT)
    assert difference.startswith("out0 ")
    assert says in difference


@pytest.mark.parametrize(("got", "is_close"), [(0.0005, True), (0.002, False), (nan, False), (inf, False)])
def test_a_tolerance_of_the_whole_tensor(got: float, is_close: bool) -> None:
    want = [torch.tensor([1.0, -1.0, 0.0, inf])]
    tensors = [torch.tensor([1.0, -1.0, got, inf])]
    assert find_difference(tensors, want, Tolerance(1e-3, 1e-5)) != ""
    assert (find_difference(tensors, want, Tolerance(1e-3, 1e-5, of_tensor=True)) == "") is is_close


def test_every_output_counts() -> None:
    one = torch.ones(2)
    assert find_difference([one], [one, one], EXACT) == "1 outputs, want 2"
    assert find_difference([one, one], [one], EXACT) == "2 outputs, want 1"
    assert find_difference([one, 2 * one], [one, one], EXACT).startswith("out1 differs")


def test_conjugates_and_nested_results() -> None:
    conjugate = torch.tensor([1 + 2j]).conj()
    assert find_difference([conjugate], [torch.tensor([1 - 2j])], EXACT) == ""
    assert len(flatten((conjugate, [conjugate, {"a": conjugate}], 3))) == 3


@pytest.mark.parametrize(
    ("blob", "is_right"),
    [
        pytest.param(np.array([3, -7], np.float32), True, id="floats"),
        pytest.param(np.array([3, -7], np.int32).view(np.float32), True, id="int32-bits"),
        pytest.param(np.array([3, -7], np.int32), True, id="int32"),
        pytest.param(np.array([[3, -7]], np.float32), True, id="axes-of-one-do-not-count"),
        pytest.param(np.array([3, 7], np.float32), False, id="wrong"),
        pytest.param(np.array([3, -7, 0], np.float32), False, id="longer"),
    ],
)
def test_integers_of_ncnn(blob: np.ndarray, is_right: bool) -> None:
    assert (differ_from_blob(blob, torch.tensor([3, -7]), EXACT) == "") is is_right


def test_int32_bits_are_no_floats() -> None:
    bits = np.array([3, -7], np.int32).view(np.float32)
    assert differ_from_blob(bits, torch.tensor([3.0, -7.0]), EXACT) != ""


def test_ncnn_runs_in_fp32(tmp_path: Path) -> None:
    """Terms that cancel, with weights that are one as half floats."""
    case = Case(tmp_path)
    case.ncnn_param.write_text(
        "7767517\n2 2\nInput in0 0 1 in0\nInnerProduct fc 1 1 in0 out0 0=16 1=0 2=256\n"
    )
    weight = np.ones((16, 16), np.float32)
    weight[:, ::2] += 0.0002
    case.ncnn_bin.write_bytes(bytes(4) + weight.tobytes())
    x = torch.tensor([3.0, -3.0] * 8)
    torch.save({"in": [x], "out": [torch.from_numpy(weight) @ x]}, tmp_path / "io.pt")
    [(_, outcome)] = run_isolated([("", partial(judge_ncnn, case))], 1, 30)
    assert outcome == Verdict("ok")


@pytest.mark.parametrize(("fp16", "state"), [("1", "ok"), ("0", "wrong")])
def test_only_half_floats_are_held_against_the_whole_output(fp16: str, state: str, tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.ncnn_param.write_text("7767517\n2 2\nInput in0 0 1 in0\nInnerProduct fc 1 1 in0 out0 0=2 1=0 2=2\n")
    case.ncnn_bin.write_bytes(bytes(4) + np.array([10.0, 0.003], np.float32).tobytes())
    (tmp_path / "pnnx.log").write_text(f"fp16 = {fp16}\n")
    torch.save({"in": [torch.ones(1)], "out": [torch.tensor([10.0, 0.0])]}, tmp_path / "io.pt")
    [(_, outcome)] = run_isolated([("", partial(judge_ncnn, case))], 1, 30)
    assert isinstance(outcome, Verdict)
    assert outcome.state == state
    # The same numbers along another axis are another result.
    assert "shape" in differ_from_blob(np.zeros((3, 2), np.float32), torch.zeros(2, 3), EXACT)


# A whole run over conversions that exist


def make_case(corpus: Path, name: str, fixture: str) -> Case:
    case = Case(corpus / name)
    shutil.copytree(FIXTURES / fixture, case.folder)
    with np.load(case.folder / "io.npz") as stored:
        tensors = {key: torch.from_numpy(stored[key]) for key in sorted(stored)}
    (case.folder / "io.npz").unlink()
    ins, outs = ([tensors[key] for key in tensors if key.startswith(way)] for way in ("in", "out"))
    torch.save({"in": ins, "out": outs}, case.folder / "io.pt")
    (case.folder / "done").touch()
    return case


def trace_case(corpus: Path, name: str, function: Callable[..., object]) -> None:
    """A model that pnnx never saw."""
    folder = corpus / name
    folder.mkdir()
    x = torch.ones(40)
    traced = torch.jit.trace(function, (x,), check_trace=False)  # type: ignore[no-untyped-call]
    traced.save(str(folder / "model.pt"))
    torch.save({"in": [x], "out": [function(x)]}, folder / "io.pt")
    (folder / "done").touch()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("coverage")
    corpus = folder / "mine"
    make_case(corpus, "clamp_new", "20261020/clamp-min-int-zero")
    make_case(corpus, "clamp_old", "20240226/conv2d")
    make_case(corpus, "clean", CLEAN)
    make_case(corpus, "refused", "20261020/int64-operand")
    raising = make_case(corpus, "raising", CLEAN)
    raising.python.write_text(raising.python.read_text().replace("return v_", "return missing_"))
    bent = make_case(corpus, "bent", CLEAN)
    ins, outs = bent.load_tensors()
    torch.save({"in": ins, "out": [outs[0] + 0.01]}, bent.folder / "io.pt")
    trace_case(corpus, "random", lambda x: torch.rand_like(x) + x)
    trace_case(corpus, "unwritten", lambda x: torch.empty_like(x) * 0 + x)
    (corpus / "unfinished").mkdir()
    before = {case.name: digest(case) for case in find_cases(corpus)}
    command = [sys.executable, "-m", "scripts.coverage", "--corpus", str(corpus)]
    output = folder / "report.md"
    done = subprocess.run(
        [*command, "--output", str(output), "--work", str(folder / "build")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    verdicts = json.loads((folder / "build/given/mine/verdicts.json").read_text()) if output.exists() else {}
    text = output.read_text() if output.exists() else ""
    is_untouched = {case.name: digest(case) for case in find_cases(corpus)} == before
    return SimpleNamespace(done=done, verdicts=verdicts, text=text, is_untouched=is_untouched)


def test_run_ends_well_and_leaves_the_corpus_alone(run: SimpleNamespace) -> None:
    assert run.done.returncode == 0, run.done.stderr
    assert run.is_untouched
    assert "unfinished" not in run.verdicts


@pytest.mark.parametrize("name", ["clamp_new", "clamp_old"])
def test_a_repair_is_seen(run: SimpleNamespace, name: str) -> None:
    before, after = run.verdicts[name]["before"], run.verdicts[name]["after"]
    assert (before["python"]["state"], before["ncnn"]["state"]) == ("syntax", "unloadable")
    assert "aten::clamp_" in before["python"]["message"]
    assert "not exists or registered" in before["ncnn"]["message"]
    assert (after["python"], after["ncnn"]) == ({"state": "ok", "message": ""},) * 2
    assert f"| {name} | syntax -> **ok** |  | unloadable -> **ok** |  |" in run.text


@pytest.mark.parametrize(
    ("name", "python", "ncnn"),
    [("clean", "ok", "ok"), ("raising", "error", "ok"), ("bent", "wrong", "wrong")],
)
def test_what_needs_no_repair_keeps_its_verdict(
    run: SimpleNamespace, name: str, python: str, ncnn: str
) -> None:
    for state in run.verdicts[name].values():
        # PyTorch does not confirm the outputs that were bent, so they are not comparable either.
        assert (state["python"]["state"], state["ncnn"]["state"]) == (python, ncnn)
        assert bool(state["not_comparable"]) is (name == "bent")


def test_the_reason_is_that_of_pnnxfix(run: SimpleNamespace) -> None:
    assert run.verdicts["refused"]["after"]["ncnn"]["state"] == "unloadable"
    (line,) = [line for line in run.text.splitlines() if line.startswith("| refused |")]
    assert "| unloadable | PNX101 ncnn has no layer `aten::clamp_min`: " in line


@pytest.mark.parametrize("name", ["random", "unwritten"])
def test_chance_is_not_comparable(run: SimpleNamespace, name: str) -> None:
    verdicts = run.verdicts[name]["before"]
    assert verdicts["not_comparable"] == "its result changes from run to run"
    assert (verdicts["python"]["state"], verdicts["ncnn"]["state"]) == ("none", "none")
    assert f"| {name} | - | - | its result changes from run to run |" in run.text


# The report


def result(before: dict[str, Verdicts], after: dict[str, Verdicts], **repair: object) -> Result:
    done = Repair(
        [Case(Path(name)) for name in before],
        frozenset(before),
        unstable=(),
        seconds=1.0,
        left=repair.get("left", {}),  # type: ignore[arg-type]
    )
    records = {name: Record(seconds=2.0) for name in before}
    return Result("Made up", {}, records, before, after, done)


def both(state: str, message: str = "", not_comparable: str = "") -> Verdicts:
    return Verdicts(Verdict(state, message), Verdict(state, message), not_comparable)


def test_a_repair_that_harms_is_named() -> None:
    found = result({"a": both("ok"), "b": both("ok")}, {"a": both("wrong", "out0"), "b": both("ok")})
    assert found.became_wrong == ["a (Python: now wrong, out0)", "a (ncnn: now wrong, out0)"]
    assert "- a (Python: now wrong, out0)" in write_report(found)


def test_a_repair_that_is_not_right_is_named_unless_pnnxfix_says_so() -> None:
    before, after = {"a": both("syntax")}, {"a": both("error", "NameError")}
    assert result(before, after).wrong_repairs == [
        "a (Python: error, NameError)",
        "a (ncnn: error, NameError)",
    ]
    said = {"a": Left(python=("PNX110 why",))}
    assert result(before, after, left=said).wrong_repairs == ["a (ncnn: error, NameError)"]


def test_chance_cannot_become_wrong() -> None:
    found = result({"a": both("ok", "", "chance")}, {"a": both("wrong", "", "chance")})
    assert found.became_wrong == []
    assert "| a | runs | runs | chance |" in write_report(found)


def test_rows_are_sorted_and_cells_hold_no_bars() -> None:
    verdicts = {"b": both("wrong", "x|y"), "a": both("none")}
    text = write_report(result(verdicts, verdicts))
    assert "| b | wrong | x\\|y | wrong | x\\|y |" in text
    assert text == write_report(result(dict(reversed(verdicts.items())), verdicts))
    assert "1 (100%) -> 1 (100%)" in text


# Making conversions


def entry(operator: Callable[..., object], *samples: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(op=operator, sample_inputs=lambda device, dtype: list(samples))


def sample(first: object, *rest: object, **named: object) -> SimpleNamespace:
    return SimpleNamespace(input=first, args=rest, kwargs=named)


def test_a_sample_bakes_in_all_but_float_tensors(tmp_path: Path) -> None:
    index = torch.tensor([1, 0])
    samples = (sample(torch.ones(2), 0, index), sample(torch.arange(6.0).reshape(2, 3), 1, index))
    assert save_sample(entry(torch.index_select, *samples), tmp_path).input_shapes == "[2,3]f32"
    inputs, outputs = Case(tmp_path).load_tensors()
    model = torch.jit.load(str(tmp_path / "model.pt"))  # type: ignore[no-untyped-call]
    (again,) = flatten(model(*inputs))
    assert torch.equal(again, outputs[0])
    assert outputs[0].tolist() == [[1.0, 0.0], [4.0, 3.0]]


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        pytest.param(entry(torch.neg), "no float32 sample", id="no-sample"),
        pytest.param(entry(torch.neg, sample(torch.tensor(1.0))), "no float32 sample", id="no-axis"),
        pytest.param(entry(torch.neg, sample(torch.tensor([1]))), "no float tensor", id="integers"),
        pytest.param(entry(torch.mm, sample(torch.ones(2))), "cannot be traced: TypeError", id="raises"),
        pytest.param(
            entry(len, sample(torch.ones(2))), "cannot be traced: RuntimeError", id="result-is-no-tensor"
        ),
    ],
)
def test_an_unusable_operator_says_why(tmp_path: Path, broken: SimpleNamespace, says: str) -> None:
    with pytest.raises(Unusable, match=says):
        save_sample(broken, tmp_path)


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = tmp_path / "tried"

    def samples(device: str, dtype: object) -> list[object]:
        with tried.open("a") as log:
            log.write("x")
        return []

    operators = {"one": SimpleNamespace(sample_inputs=samples), "two": SimpleNamespace(sample_inputs=samples)}
    monkeypatch.setattr(convert, "load_operators", lambda only: operators)
    corpus = tmp_path / "corpus"
    (corpus / "two").mkdir(parents=True)
    (corpus / "two" / "half").touch()
    for _ in range(2):
        fill_corpus(corpus, Pnnx("none", Path("none")), "", 1, lambda *_: None)
    assert tried.read_text() == "xx"
    assert [case.name for case in find_cases(corpus)] == ["one", "two"]
    assert not (corpus / "two" / "half").exists()
    assert "no float32 sample" in Case(corpus / "one").read_record().skipped


def test_releases_come_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "19990101" / "pnnx" / "pnnx"
    program.parent.mkdir(parents=True)
    program.touch()
    monkeypatch.setenv("PNNXFIX_PNNX_CACHE", str(tmp_path))
    assert find_pnnx("19990101") == Pnnx("19990101", program)


def test_a_failed_conversion_says_how_far_pnnx_came(tmp_path: Path) -> None:
    case = Case(tmp_path)
    assert case.read_record().failure == "pnnx ended before its first pass"
    (tmp_path / "pnnx.log").write_text("############# pass_level0\n############# pass_level1\n")
    assert case.read_record().failure == "pnnx ended in pass_level1"
    case.finish(Record(seconds=1.5, failure="why"))
    assert case.read_record() == Record(seconds=1.5, failure="why")
    assert case.is_done
