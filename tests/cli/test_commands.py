"""What a user sees: arguments and files in; exit code, stdout, stderr and files out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import pnnxfix
from pnnxfix.cli.main import main

if TYPE_CHECKING:
    from conftest import Place

PARAM = "model.ncnn.param"
FIXED = "Fixed 4 findings in 1 conversion (4 files); 0 left.\n"
BESIDE = "model.pnnx.onnx model.pnnx.param model_pnnx.py"


class Row(NamedTuple):
    """One command over the directories `leak`, `mixed`, `clean` and `broken`.

    `out` and `err` are lines that must be there, in full; an empty tuple means an empty stream.
    `changed` are the files that differ afterwards.
    """

    argv: str
    code: int
    out: tuple[str, ...] = ()
    err: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


CONCISE = (
    "leak/model.ncnn.param:4:1: PNX201 leaked-expression [*] ncnn has no layer `pnnx.Expression`",
    "leak/model.ncnn.param:5:1: PNX101 leaked-clamp-min [*] ncnn has no layer `aten::clamp_min`",
    "leak/model.pnnx.param:5:1: PNX101 leaked-clamp-min [*] `aten::clamp_min` is not converted",
    "leak/model_pnnx.py:39:15: PNX101 leaked-clamp-min [*]"
    " `aten::clamp_min` is no Python: pnnx left the operator as it was",
)
REPAIRED = ("leak/model.ncnn.param", "leak/model.pnnx.onnx", "leak/model.pnnx.param", "leak/model_pnnx.py")

NOTHING_CHANGES = {
    "clean": Row("check clean", 0, err=("No findings in 1 conversion.",)),
    "clean-quiet": Row("check -q clean", 0),
    "clean-fix": Row("fix clean", 0, err=("Nothing to fix in 1 conversion; 0 left.",)),
    "clean-diff": Row("fix --diff clean", 0, err=("Nothing to fix in 1 conversion; 0 left.",)),
    "clean-fix-for-a-hook": Row("fix --exit-non-zero-on-fix -q clean", 0),
    "findings": Row("check --output-format concise leak", 1, CONCISE,
        ("Found 4 findings in 1 conversion; 4 can be repaired with `pnnxfix fix`.",)),
    "findings-quiet": Row("check --output-format concise --quiet leak", 1, CONCISE),
    "full": Row("check -q leak", 1, ("    help: `pnnxfix fix` writes Clip 0=1.00000001e-01",)),
    "refused": Row("check -q mixed", 1, ("    not repaired: pnnxfix has no rule for this operator",)),
    "single-file": Row("check -q --output-format concise leak/model_pnnx.py", 1, CONCISE),
    "select": Row("check -q --output-format concise --select PNX1 leak", 1, CONCISE[1:]),
    "select-lower-case": Row("check -q --output-format concise --select pnx101,PNX9 leak", 1, CONCISE[1:]),
    "ignore": Row("check -q --output-format concise --ignore PNX2 leak", 1, CONCISE[1:]),
    "ignore-all": Row("check -q --ignore PNX1,PNX2 --ignore PNX9 leak mixed", 0),
    "exclude": Row("check -q --exclude leak --exclude mix* --exclude broken .", 0),
    "two-wins": Row("check -q --output-format concise leak nowhere", 2, CONCISE,
        ("nowhere: error: no such file or directory",)),
    "diff": Row("fix -q --diff leak", 1, (
        "--- a/leak/model.ncnn.param", "+++ b/leak/model.ncnn.param", "-3 3", "+2 2",
        "Binary files a/leak/model.pnnx.onnx and b/leak/model.pnnx.onnx differ",
        "+        v_2 = torch.clamp_min(v_0, 0.1)")),
    "diff-summary": Row("fix --diff leak", 1, ("-3 3",),
        ("Would fix 4 findings in 1 conversion (4 files); 0 would be left.",)),
    "diff-refused": Row("fix --diff mixed", 1, ("-6 7",),
        ("    not repaired: pnnxfix has no rule for this operator",)),
    "no-path": Row("check", 2, err=("pnnxfix: error: Missing argument 'PATH...'.",)),
    "no-option": Row("check --selct PNX1 leak", 2, err=("pnnxfix: error: No such option",)),
    "no-command": Row("chekc leak", 2, err=(
        "pnnxfix: error: no command 'chekc'; did you mean `pnnxfix check`? See `pnnxfix --help`.",)),
    "path-for-command": Row("leak/model.ncnn.param", 2, err=(
        "pnnxfix: error: no command 'leak/model.ncnn.param'; did you mean `pnnxfix check`?",)),
    "no-such-code": Row("check --select PNX10l leak", 2, err=(
        "pnnxfix: error: --select: no rule's code starts with 'PNX10L'; see `pnnxfix rule --all`",)),
    "value-without-number": Row("fix --value 2=half leak", 2, err=(
        "pnnxfix: error: Invalid value for '--value': '2=half' is not BLOB=NUMBER, as in 2=0.5."
        " See `pnnxfix fix --help`.",)),
    "value-twice": Row("fix --value 2=1 --value 2=3 leak", 2, err=(
        "pnnxfix: error: Invalid value for '--value': '2' is given twice: 1 and 3.",)),
    "log-that-is-missing": Row("fix --log no.log leak", 2, err=(
        "pnnxfix: error: Invalid value for '--log': there is no file 'no.log'.",)),
    "diff-as-json": Row("fix --diff --output-format json leak", 2, err=(
        "pnnxfix: error: --diff prints a diff: it does not go with --output-format json.",)),
    "config-without-table": Row("check --config clean/model.pnnx.param clean", 2, err=(
        "pnnxfix: error: clean/model.pnnx.param: is not valid TOML:",)),
    "rule": Row("rule PNX101", 0, ("PNX101 leaked-clamp-min", "What it finds", "Why it breaks", "Repair")),
    "rule-by-name": Row("rule leaked-clamp-max", 0, ("PNX102 leaked-clamp-max",)),
    "no-such-rule": Row("rule PNX111", 2, err=(
        "pnnxfix: error: no rule 'PNX111'; did you mean",)),
    "rule-without-code": Row("rule", 2, err=(
        "pnnxfix: error: Give one or more codes, or --all. See `pnnxfix rule --help`.",)),
    "version": Row("--version", 0, (f"pnnxfix {pnnxfix.__version__}",)),
}  # fmt: skip

SOMETHING_CHANGES = {
    "fix": Row("fix leak", 0, err=(FIXED.strip(),), changed=REPAIRED),
    "fix-quiet": Row("fix -q leak", 0, changed=REPAIRED),
    "fix-for-a-hook": Row("fix --exit-non-zero-on-fix leak/model.ncnn.param", 1,
        err=(FIXED.strip(), f"also changed, stage them too: leak/{BESIDE.replace(' ', ' leak/')}"),
        changed=REPAIRED),
    "fix-all-named": Row(f"fix -q {' '.join(REPAIRED)}", 0, changed=REPAIRED),
    "fix-what-can-be": Row("fix mixed", 1, ("    not repaired: pnnxfix has no rule for this operator",),
        ("Fixed 5 findings in 1 conversion (4 files); 1 left.",),
        tuple(name.replace("leak", "mixed") for name in REPAIRED)),
    "fix-and-two-wins": Row("fix leak nowhere", 2, err=("nowhere: error: no such file or directory",
        "Fixed 4 findings in 1 conversion (4 files); 0 left; 1 error."), changed=REPAIRED),
}  # fmt: skip

TABLE = {**NOTHING_CHANGES, **SOMETHING_CHANGES}


def assert_lines(expected: tuple[str, ...], text: str) -> None:
    if not expected:
        assert text == ""
    for line in expected:
        assert any(shown.startswith(line) for shown in text.splitlines()), f"{line!r} is not in:\n{text}"


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())
def test_table(place: Place, row: Row) -> None:
    place.put("clamp-min-tenth", "leak")
    place.put("beside-leaked-operator", "mixed")
    place.put("normalize", "clean")
    place.write(f"broken/{PARAM}", "no param\n")
    before = place.snapshot()
    outcome = place.run(*row.argv.split())
    assert outcome.code == row.code, outcome
    assert_lines(row.out, outcome.out)
    assert_lines(row.err, outcome.err)
    after = place.snapshot()
    assert tuple(name for name in after if after[name] != before.get(name)) == row.changed
    assert before.keys() == after.keys()


def test_concise_findings_are_exactly_these(place: Place) -> None:
    place.put("clamp-min-tenth", "leak")
    assert place.run("check", "--output-format", "concise", "-q", ".").out.splitlines() == list(CONCISE)


def test_repairing_twice_changes_nothing(place: Place) -> None:
    place.put("clamp-min-tenth")
    assert place.run("fix", PARAM) == (0, "", place_summary(place, "model"))
    after = place.snapshot()
    assert place.run("fix", "--exit-non-zero-on-fix", PARAM).code == 0
    assert place.snapshot() == after
    assert place.run("check", ".").code == 0


def place_summary(place: Place, stem: str) -> str:
    files = f"{PARAM}, model.pnnx.param, model_pnnx.py, model.pnnx.onnx"
    return (
        f"{stem}: note: model_ncnn.py need not change: the network's inputs, outputs and batch axes"
        " are the same\n"
        f"{stem}: 3 PNX101 leaked-clamp-min, 1 PNX201 leaked-expression ({files})\n"
        f"{FIXED}also changed, stage them too: {BESIDE}\n"
    )


def test_a_directory_needs_no_list_of_what_changed(place: Place) -> None:
    place.put("clamp-min-tenth", "models/a")
    assert "also changed" not in place.run("fix", "models").err


def test_the_diff_is_what_fix_writes(place: Place) -> None:
    place.put("clamp-min-tenth")
    diff = place.run("fix", "--diff", ".").out
    text = "\n".join(line for line in diff.splitlines() if not line.startswith("Binary files"))
    place.run("fix", ".")
    fixed = place.snapshot()
    place.put("clamp-min-tenth")
    subprocess.run(["git", "apply", "-"], input=f"{text}\n", text=True, check=True, cwd=place.path)
    applied = place.snapshot()
    assert {name for name in fixed if fixed[name] != applied[name]} == {"model.pnnx.onnx"}


def test_options_reach_the_repair(place: Place) -> None:
    place.put("clamp-min-tenth")
    out = place.run("fix", "--diff", "--style", "clamp", "--no-load-check", ".").out
    assert "+        v_2 = torch.clamp(v_0, min=0.1)" in out
    place.put("conv2d", "conv")
    fused = place.run("fix", "--diff", "conv").out
    loose = place.run("fix", "--diff", "--no-fuse", "conv").out
    assert "+Clip" not in fused
    assert "+Clip" in loose


def test_the_configuration_counts(place: Place) -> None:
    place.put("clamp-min-tenth", "leak")
    place.write("pyproject.toml", '[tool.pnnxfix]\nignore = ["PNX2"]\n')
    assert place.run("check", "-q", "--output-format", "concise", "leak").out.splitlines() == list(
        CONCISE[1:]
    )
    place.write("pyproject.toml", '[tool.pnnxfix]\nignor = ["PNX1"]\n')
    outcome = place.run("check", "leak")
    assert (outcome.code, outcome.out) == (2, "")
    assert "[tool.pnnxfix] has no key 'ignor'; did you mean 'ignore'?" in outcome.err


def test_ignores_by_file_count_from_the_configuration(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.put("clamp-min-tenth", "leak")
    place.put("clamp-min-tenth", "old/leak")
    place.write("pyproject.toml", '[tool.pnnxfix.per-file-ignores]\n"old/*" = ["PNX1", "PNX2"]\n')
    check = ("check", "-q", "--output-format", "concise")
    assert place.run(*check, ".").out.splitlines() == list(CONCISE)
    assert place.run(*check, str(place.path)).out.splitlines() == list(CONCISE)
    monkeypatch.chdir(place.path / "leak")
    assert place.run(*check, "..").out.count("\n") == len(CONCISE)
    assert place.run(*check, "../old").out == ""


def test_layers_of_the_users_own(place: Place) -> None:
    place.put("beside-leaked-operator")
    assert "PNX900" in place.run("check", ".").out
    assert "PNX900" not in place.run("check", "--custom-layer", "aten::digamma", ".").out


def test_colour_can_be_forced(place: Place) -> None:
    place.put("clamp-min-tenth")
    assert "\x1b[" not in place.run("check", ".").out
    assert "\x1b[31mPNX101\x1b[0m" in place.run("check", "--color", ".").out


@pytest.mark.parametrize("debug", ["0", "1"])
def test_an_internal_error_is_a_message(place: Place, monkeypatch: pytest.MonkeyPatch, debug: str) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("pnnxfix.pipeline.run.check_paths", fail)
    monkeypatch.setenv("PNNXFIX_DEBUG", debug)
    outcome = place.run("check", ".")
    assert outcome.code == 2
    assert (
        "pnnxfix: internal error: ZeroDivisionError: by zero, nothing was changed; please report"
        in outcome.err
    )
    assert ("Traceback" in outcome.err) == (debug == "1")


def test_an_error_after_the_repair_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("pnnxfix.cli.text.render_findings", fail)
    place.put("clamp-min-tenth")
    assert "by zero, after the files were repaired; please report" in place.run("fix", ".").err
    assert place.run("fix", "--diff", ".").err.count("nothing was changed") == 1


def test_an_interrupt_is_130(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pnnxfix.pipeline.run.fix_paths", interrupt)
    outcome = place.run("fix", ".")
    assert (outcome.code, outcome.err.strip()) == (130, "pnnxfix: interrupted")


@pytest.mark.parametrize("rule", ["PNX101", "PNX201", "PNX900"])
def test_every_rule_has_its_sections(place: Place, rule: str) -> None:
    out = place.run("rule", rule).out
    for section in ("What it finds", "Why it breaks", "Repair", "Limits", "Example", "Source"):
        assert f"\n{section}\n    " in out


def test_rule_all_lists_them(place: Place) -> None:
    lines = place.run("rule", "--all").out.splitlines()
    codes = [line.split()[0] for line in lines[1:]]
    assert codes == sorted(codes)
    assert {"PNX101", "PNX102", "PNX201", "PNX900"} <= set(codes)
    for code in codes:
        assert place.run("rule", code).code == 0


def test_help_names_every_command_and_exit_code(place: Place) -> None:
    text = place.run("--help").out
    for word in ("check", "fix", "rule", "install-hook", "Examples:", "Exit codes:", "[tool.pnnxfix]"):
        assert word in text
    assert place.run("fix", "-h") == place.run("fix", "--help")


def test_as_a_process(place: Place, environment: dict[str, str]) -> None:
    place.put("clamp-min-tenth", "leak")
    command = [sys.executable, "-m", "pnnxfix", "check", "-q", "--output-format", "concise", "leak"]
    done = subprocess.run(
        command, cwd=place.path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (1, list(CONCISE), "")


def test_main_takes_no_arguments_for_those_of_the_process(
    monkeypatch: pytest.MonkeyPatch, place: Place
) -> None:
    monkeypatch.setattr(sys, "argv", ["pnnxfix", "--version"])
    assert main() == 0


def test_the_progress_line_comes_and_goes(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import time

    from pnnxfix.cli import progress

    monkeypatch.setattr(progress, "_DELAY", 0.01)
    with progress.Progress(enabled=True) as show:
        show(0, 2, Path("a"))
        time.sleep(0.2)
        show(1, 2, Path("b\x1b"))
    assert capsys.readouterr().err == "\r\x1b[2K[1/2] a\r\x1b[2K[2/2] b\\x1b\r\x1b[2K"
    with progress.Progress(enabled=False) as show:
        show(0, 2, Path("a"))
        time.sleep(0.05)
    assert capsys.readouterr().err == ""
