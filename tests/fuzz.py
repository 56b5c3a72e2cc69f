"""Fuzz run: mutates real conversions and holds `check` and `fix` to what they promise.

    python tests/fuzz.py [N] [SEED] [--load-check] [--only INDEX] [--keep DIRECTORY]

Promises: no exception; `check` writes nothing; where a conversion has a problem, no byte of it
changes; what changes is what the report says, nothing else; no hidden file stays behind; `fix`
repairs what `check` called repairable, and a second `fix` has nothing to do. Input number INDEX
of a seed is always the same, so that `--only` shows a failure again and `--keep` stores it.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pnnxfix.options import Options
from pnnxfix.pipeline.run import check_paths, fix_paths
from pnnxfix.report import Report

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
LONGEST = 10.0  # seconds that one input may take, on a busy machine
_SUFFIXES = (".param", ".bin", ".onnx", ".py", ".pt", ".log")
_TEXT = (".param", ".py", ".log")
_WORDS = (
    *("0", "1", "2", "-1", "3", "99999999", "4294967296", "1e39", "-inf", "inf", "nan", "nan.0", "1e-7"),
    *("0.000000", "1410065408", "2147483647", "expr=0.5", "expr=inf", "expr=-inf", "expr=", "expr=[1,2]"),
    *("expr=add(@0,@1)", "aten::clamp_min", "aten::clamp_max", "pnnx.Expression", "Split", "Input"),
    *("pnnx.Input", "pnnx.Output", "in0", "out0", "v_0", "v_1", "v_99", "7767517", "=", "", "#", "::"),
    *("aten::", "$min=1", "#0=(1,3,8,8)f32", "#1=()f32", "@data=(3)f32", "0=1", "-23310=2,0,1", "9=3"),
    *("Clip", "Convolution", "BinaryOp", "torch.clamp", "None", "True", "\x00", "\r", "\ufeff", "\u00a0"),
    *("(" * 300, "[", ")", "'", '"', "\\", "# pnnxfix: ignore", "  ", "\t", "float('inf')", "v_0, v_1"),
)

Files = dict[str, bytes]


@dataclass
class Outcome:
    """What came of one input: its mutations, and each promise that was broken."""

    index: int
    fixture: str
    mutations: list[str]
    files: Files
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    repaired: bool = False
    problems: bool = False


@cache
def fixtures() -> tuple[Path, ...]:
    """The directories of real conversions."""
    found = {path.parent for path in FIXTURES.rglob("*.param")}
    return tuple(sorted(found))


@cache
def read_fixture(directory: Path) -> Files:
    return {p.name: p.read_bytes() for p in sorted(directory.iterdir()) if p.suffix in _SUFFIXES}


# mutations


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def delete_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    return b"\n".join(lines[:at] + lines[at + rng.choice((1, 1, 1, 3)) :])


def duplicate_line(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    return b"\n".join(lines)


def swap_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    one, two = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]
    return b"\n".join(lines)


def replace_word(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    words = lines[at].split(b" ")
    other = rng.choice(rng.choice(lines).split(b" ") or [b""])
    words[rng.randrange(len(words))] = rng.choice((rng.choice(_WORDS).encode(), other))
    lines[at] = b" ".join(words)
    return b"\n".join(lines)


def drop_word(data: bytes, rng: random.Random) -> bytes:
    words = data.split(b" ")
    del words[rng.randrange(len(words))]
    return b" ".join(words)


def change_number(data: bytes, rng: random.Random) -> bytes:
    digits = [at for at, byte in enumerate(data) if 48 <= byte <= 57]
    if not digits:
        return data
    at = rng.choice(digits)
    return data[:at] + rng.choice((b"", b"0", b"1", b"9", b"00", b"-1")) + data[at + 1 :]


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def insert_bytes(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice((rng.randbytes(4), rng.choice(_WORDS).encode(), b"\n\n")) + data[at:]


def change_line_ends(data: bytes, rng: random.Random) -> bytes:
    return data.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", b" \n")))


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flip_bits,
    delete_lines,
    duplicate_line,
    swap_lines,
    replace_word,
    replace_word,
    replace_word,
    drop_word,
    change_number,
    change_number,
    truncate,
    insert_bytes,
    change_line_ends,
)


def make_input(seed: int, index: int) -> Outcome:
    """Input number `index` of a seed: a real conversion with one to four mutations."""
    rng = random.Random(f"{seed}/{index}")
    directory = rng.choice(fixtures())
    files = dict(read_fixture(directory))
    done: list[str] = []
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        texts = [name for name in files if name.endswith(_TEXT)]
        name = rng.choice(texts if rng.random() < 0.95 else sorted(files)) if texts else rng.choice([*files])
        kind = rng.random()
        if kind < 0.05 and len(files) > 1:
            del files[name]
            done.append(f"remove {name}")
        elif kind < 0.12:
            other = rng.choice(fixtures())
            theirs = read_fixture(other)
            if name in theirs:
                files[name] = theirs[name]
                done.append(f"{name} from {other.relative_to(FIXTURES)}")
        elif kind < 0.18:
            other = rng.choice(fixtures())
            lines, theirs_lines = files[name].split(b"\n"), read_fixture(other).get(name, b"").split(b"\n")
            cut = rng.randrange(len(lines))
            files[name] = b"\n".join(lines[:cut] + theirs_lines[rng.randrange(len(theirs_lines)) :])
            done.append(f"splice {name} with {other.relative_to(FIXTURES)}")
        else:
            mutation = rng.choice(MUTATIONS)
            files[name] = mutation(files[name], rng)
            done.append(f"{mutation.__name__} {name}")
    return Outcome(index, str(directory.relative_to(FIXTURES)), done, files)


# promises


def snapshot(directory: Path) -> Files:
    return {p.name: p.read_bytes() for p in directory.iterdir()}


def examine(outcome: Outcome, directory: Path, load_check: bool) -> None:
    """Run an input in a directory and note each promise that is broken."""
    for old in directory.iterdir():
        old.unlink()
    for name, data in outcome.files.items():
        (directory / name).write_bytes(data)
    options = Options(load_check=load_check)
    start = time.monotonic()
    try:
        outcome.failures.extend(_broken_promises(outcome, directory, options))
    except Exception:
        outcome.failures.append(traceback.format_exc())
    outcome.seconds = time.monotonic() - start
    if outcome.seconds > LONGEST:
        outcome.failures.append(f"took {outcome.seconds:.1f} s")


def _broken_promises(outcome: Outcome, directory: Path, options: Options) -> Iterator[str]:
    before = outcome.files
    checked = check_paths([directory], options)
    if snapshot(directory) != before:
        yield "check changed a file"
        return
    first = fix_paths([directory], options)
    after = snapshot(directory)
    outcome.problems = first.exit_code == 2
    outcome.repaired = after != before
    yield from _compare_reports(checked, first)
    yield from _compare_bytes(first, before, after)
    second = fix_paths([directory], options)
    if snapshot(directory) != after:
        yield "a second fix changed a file again"
    if outcome.repaired and second.fixed:
        yield f"a second fix repaired {second.fixed}"
    if outcome.repaired and second.all_problems:
        yield f"the repaired conversion has problems: {second.all_problems}"


def _compare_reports(checked: Report, first: Report) -> Iterator[str]:
    for report in (checked, first):
        for problem in report.all_problems:
            if not problem.message.strip():
                yield f"a problem without a message: {problem}"
        for finding in (*report.findings, *report.fixed):
            if finding.line < 1 or finding.column < 1 or not finding.message or not finding.help:
                yield f"an incomplete finding: {finding}"
    if not first.all_problems:
        promised = {finding for finding in checked.findings if finding.fixable}
        if promised != set(first.fixed):
            yield f"check promised {promised} and fix did {first.fixed}"
        if any(finding.fixable for finding in first.findings):
            yield "fix left what it can repair"
    elif checked.exit_code != 2 and not all("was changed" in p.help for p in first.all_problems):
        yield f"fix has a problem that check has not: {first.all_problems}"


def insert(data: bytes, inserted: Sequence[tuple[int, bytes]]) -> bytes:
    """Bytes with others put in, each before the byte at its position."""
    for position, piece in reversed(inserted):
        data = data[:position] + piece + data[position:]
    return data


def _compare_bytes(report: Report, before: Files, after: Files) -> Iterator[str]:
    if set(after) != set(before):
        yield f"the set of files changed: {sorted(set(after) ^ set(before))}"
    changed = {name for name in before if after.get(name) != before[name]}
    told: dict[str, bytes] = {}
    for conversion in report.conversions:
        for change in conversion.changes:
            name = change.path.name
            # Of a .bin, the report holds the bytes that came in.
            told[name] = insert(before[name], change.inserted) if change.inserted else change.after
        stem = conversion.stem.name
        touched = {name for name in changed if name.startswith(stem)}
        if conversion.problems and touched:
            yield f"changed in spite of a problem: {sorted(touched)}, {conversion.problems}"
        if touched and not conversion.fixed:
            yield f"changed without a finding: {sorted(touched)}"
    if changed != {name for name, data in told.items() if data != before.get(name)}:
        yield f"changed {sorted(changed)} and told of {sorted(told)}"
    for name in changed:
        if told.get(name) != after.get(name):
            yield f"{name} is not what the report says"


def run(count: int, seed: int, load_check: bool = False, first: int = 0) -> Iterator[Outcome]:
    """The outcomes of `count` inputs, one after another."""
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_memory()) as home:
        for index in range(first, first + count):
            outcome = make_input(seed, index)
            examine(outcome, Path(home), load_check)
            yield outcome


def _memory() -> str | None:
    """A file system in memory where there is one: `fix` waits for the disk otherwise."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def main() -> int:
    parser = argparse.ArgumentParser(description="mutate real conversions and run check and fix on them")
    parser.add_argument("count", nargs="?", type=int, default=2000, metavar="N")
    parser.add_argument("seed", nargs="?", type=int, default=1, metavar="SEED")
    parser.add_argument("--load-check", action="store_true", help="let ncnn load each repaired param")
    parser.add_argument("--only", type=int, metavar="INDEX", help="this input alone")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="store inputs that fail")
    options = parser.parse_args()
    failed = repaired = problems = 0
    slowest = 0.0
    single = options.only is not None
    outcomes = run(
        1 if single else options.count, options.seed, options.load_check, options.only if single else 0
    )
    for outcome in outcomes:
        repaired += outcome.repaired
        problems += outcome.problems
        slowest = max(slowest, outcome.seconds)
        if outcome.failures or single:
            failed += bool(outcome.failures)
            print(f"--- input {outcome.index} of seed {options.seed}: {outcome.fixture}, {outcome.mutations}")
            for failure in outcome.failures:
                print(failure)
            if options.keep is not None:
                home = options.keep / f"{options.seed}-{outcome.index}"
                shutil.rmtree(home, ignore_errors=True)
                home.mkdir(parents=True)
                for name, data in outcome.files.items():
                    (home / name).write_bytes(data)
    print(
        f"{1 if single else options.count} inputs, seed {options.seed}: {failed} failed, "
        f"{repaired} repaired, {problems} with problems, slowest {slowest:.2f} s"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
