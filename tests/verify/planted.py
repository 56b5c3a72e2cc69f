"""Faults planted in real conversions, and whether `verify --bisect` names them.

    python -m tests.verify.planted            the share over the stored faults
    python -m tests.verify.planted --all      the share over every fault that can be planted
    python -m tests.verify.planted --write    choose the stored faults anew

A fault alters one parameter, one axis, one weight or one batch index. It counts where the model still
runs and gives other numbers. PyTorch is started once, and so is ncnn unless a fault kills it.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import struct
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pnnxfix.pipeline.discovery import find_conversions
from pnnxfix.verify.bisect import bisect
from pnnxfix.verify.compare import measure
from pnnxfix.verify.draws import make_draws
from pnnxfix.verify.form import Form, NcnnForm, TorchForm
from pnnxfix.verify.outcome import Divergence, FormReport, Verdict
from pnnxfix.verify.process import ChildFailed, Limits
from pnnxfix.verify.settings import TOLERANCES, TORCH_TOLERANCE
from pnnxfix.verify.subject import Subject, read_subject
from tests.verify.weights import find_weights

STORED = Path(__file__).resolve().parents[2] / "fixtures" / "verify"
FAULTS = STORED / "faults.json"
SAMPLED = 5
KEPT = 1
"""Faults of each network, kind and side that are tried when the stored ones are chosen, and that are kept."""
# Splits, inputs and what holds no number have nothing to alter; these keys are no meaning of the layer.
_NOT_ALTERED = {"Input", "Split", "Noop"}
_SIZES = {
    ("Convolution", "6"),
    ("InnerProduct", "2"),
    ("Embed", "3"),
    ("LSTM", "1"),
    ("MultiHeadAttention", "2"),
}
# A BinaryOp of one input that is not to use its scalar reads a second input beyond the end of the list: it
# gives other numbers or dies, by what lies there.
_UNDEFINED = {("BinaryOp", "1")}


@dataclass(frozen=True)
class Fault:
    """`kind` is parameter, axis, weight or batch. The edit is of a line, or of bytes where `line` is 0."""

    network: str
    kind: str
    file: str
    operator: str
    line: int
    old: str
    new: str
    offset: int = 0

    @property
    def id(self) -> str:
        return f"{self.network}-{self.operator}-{self.kind}-{self.old or self.offset}-{self.new}"


def read_faults() -> list[Fault]:
    return [Fault(**fault) for fault in json.loads(FAULTS.read_text())]


# planting


def plant(fault: Fault, folder: Path) -> None:
    """Alter a copy of the conversion in `folder`."""
    path = folder / fault.file
    if fault.file.endswith(".pnnx.bin"):
        _alter_archive(path, fault)
        return
    data = path.read_bytes()
    if fault.line:
        lines = data.decode().split("\n")
        words = lines[fault.line - 1].split(fault.old)
        assert len(words) > 1, fault
        lines[fault.line - 1] = lines[fault.line - 1].replace(fault.old, fault.new, 1)
        path.write_text("\n".join(lines))
    else:
        new = bytes.fromhex(fault.new)
        path.write_bytes(data[: fault.offset] + new + data[fault.offset + len(new) :])


def _alter_archive(path: Path, fault: Fault) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    data, new = entries[fault.old], bytes.fromhex(fault.new)
    entries[fault.old] = data[: fault.offset] + new + data[fault.offset + len(new) :]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def find_all(network: str) -> Iterator[Fault]:
    """Every fault that can be planted in one conversion."""
    folder = STORED / network
    dice = random.Random(network)
    rows = (folder / "model.ncnn.param").read_text().split("\n")
    for number, row in enumerate(rows, 1):
        words = row.split()
        if number < 3 or not words or words[0] in _NOT_ALTERED:
            continue
        for word in words[4 + int(words[2]) + int(words[3]) :]:
            key, _, value = word.partition("=")
            if (words[0].removesuffix("1D").replace("DepthWise", ""), key) in _SIZES | _UNDEFINED:
                continue
            for new in _alter_value(key, value):
                kind = "axis" if _is_axis(words[0], key) else "parameter"
                yield Fault(network, kind, "model.ncnn.param", words[1], number, f" {word}", new)
    subject = read(folder)
    assert subject.ncnn is not None
    graph = subject.ncnn.graph
    data = (folder / "model.ncnn.bin").read_bytes()
    for piece in find_weights([graph.original(handle) for handle in graph], data):
        at = dice.randrange(piece.count)
        if piece.half:
            offset, old = piece.offset + 2 * at, struct.unpack_from("<e", data, piece.offset + 2 * at)[0]
            new_bytes = struct.pack("<e", old + 1.5)
        else:
            offset, old = piece.offset + 4 * at, struct.unpack_from("<f", data, piece.offset + 4 * at)[0]
            new_bytes = struct.pack("<f", old + 1.5)
        yield Fault(network, "weight", "model.ncnn.bin", piece.layer, 0, "", new_bytes.hex(), offset)
    yield from _alter_script(network, folder)
    yield from _alter_python(network, folder, dice)


def _is_axis(layer: str, key: str) -> bool:
    return (layer, key) in {
        ("Softmax", "0"), ("Concat", "0"), ("Slice", "1"), ("Reduction", "-23303"), ("Permute", "0"),
        ("Crop", "-23311"), ("Reshape", "0"), ("Reshape", "1"), ("Reshape", "2"),
        ("Reshape", "12"), ("Reshape", "13"),
    }  # fmt: skip


def _alter_value(key: str, value: str) -> Iterator[str]:
    if int(key) < -23299:
        count, *numbers = value.split(",")
        for at, number in enumerate(numbers):
            for new in _alter_number(number):
                yield f" {key}={','.join([count, *numbers[:at], new, *numbers[at + 1 :]])}"
    else:
        yield from (f" {key}={new}" for new in _alter_number(value))


def _alter_number(text: str) -> Iterator[str]:
    if re.fullmatch(r"-?\d+", text):
        yield from (str(int(text) + step) for step in (1, -1) if int(text) + step >= 0)
    elif re.fullmatch(r"-?[\d.]+(e[+-]?\d+)?", text):
        yield f"{float(text) * 1.5 + 0.25:.6e}"


def _alter_script(network: str, folder: Path) -> Iterator[Fault]:
    for number, line in enumerate((folder / "model_ncnn.py").read_text().split("\n"), 1):
        for match in re.finditer(r"batch_index=(\d+)|\.(?:un)?squeeze\((\d)\)", line):
            blob = re.search(r"\b(in|out)\d+\b", line)
            assert blob is not None
            old = int(match[1] or match[2])
            for new in {0, 1, 233} - {old}:
                text = match[0].replace(str(old), str(new))
                if match[2] and new == 233:
                    text = ""
                yield Fault(network, "batch", "model_ncnn.py", blob[0], number, match[0], text)


def _alter_python(network: str, folder: Path, dice: random.Random) -> Iterator[Fault]:
    lines = (folder / "model_pnnx.py").read_text().split("\n")
    first = next(at for at, line in enumerate(lines) if "def forward" in line) + 1
    last = next(at for at, line in enumerate(lines) if at > first and "return" in line)
    modules: dict[str, str] = {}
    for number in range(first, last):
        target, _, expression = lines[number].strip().partition(" = ")
        operator = target.split(",")[0]
        if used := re.search(r"self\.(\w+)", expression):
            modules[used[1]] = operator
        for match in re.finditer(r"(?<![\w.])(-?\d+\.\d+|-?\d+)(?![\w.])", expression):
            for new in list(_alter_number(match[1]))[:1]:
                start = lines[number].index(expression) + match.start()
                line = lines[number]
                old, text = line[start - 1 : start + len(match[0])], line[start - 1] + new
                if line.count(old) == 1:
                    yield Fault(network, "parameter", "model_pnnx.py", operator, number + 1, old, text)
    with zipfile.ZipFile(folder / "model.pnnx.bin") as archive:
        for name in archive.namelist():
            data = archive.read(name)
            module = name.rpartition(".")[0].replace(".", "_")
            module = module if module in modules else name.replace(".", "_")
            if module in modules and len(data) % 4 == 0 and data:
                at = 4 * dice.randrange(len(data) // 4)
                new = struct.pack("<f", struct.unpack_from("<f", data, at)[0] + 1.5).hex()
                yield Fault(network, "weight", "model.pnnx.bin", modules[module], 0, name, new, at)


# judging


def read(folder: Path) -> Subject:
    return read_subject(find_conversions([folder])[0][0])


class Bench:
    """Runs faults one after another in the same processes."""

    def __init__(self, base: Path) -> None:
        self._base = base
        limits = Limits(60.0)
        self._limits = limits
        self._network = ""
        self.reason = ""
        self._reference = TorchForm(limits, base / "reference", STORED, None)
        self._python = TorchForm(limits, base / "python", STORED, STORED)
        self._subject: TorchForm = TorchForm(limits, base / "subject", STORED, STORED)
        self._ncnn: NcnnForm | None = None

    def close(self) -> None:
        for form in (self._reference, self._python, self._subject, self._ncnn):
            if form is not None:
                form.close()

    def _prepare(self, network: str) -> None:
        if self._network == network:
            return
        self._network = network
        folder = STORED / network
        subject = read(folder)
        self._reference.path = folder / "model.pt"
        self._reference.load()
        self._python.path, self._python.bin, self._python.rounding = (
            folder / "model_pnnx.py", folder / "model.pnnx.bin", subject.rounding
        )  # fmt: skip
        self._python.load()
        # The ordinary draws; special values find no other faults in networks of this size.
        self._draws = make_draws(subject.inputs, 1)[:2]
        self._paths = []
        for at, draw in enumerate(self._draws):
            for one, array in zip(subject.inputs, draw.arrays, strict=True):
                np.save(self._base / f"{network}.{at}.{one.blob}.npy", array)
            self._paths.append([str(self._base / f"{network}.{at}.{one.blob}.npy") for one in subject.inputs])
        self._expected = [self._reference.run(paths) for paths in self._paths]

    def judge(self, fault: Fault) -> tuple[str, Divergence | None]:
        """`agrees`, `fails` (it cannot be run) or `disagrees`, and what the bisection says then."""
        self._prepare(fault.network)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(shutil.copytree(STORED / fault.network, Path(name) / "model"))
            plant(fault, folder)
            subject = read(folder)
            is_python = "pnnx" in fault.file
            form: Form = self._load_python(folder) if is_python else self._load_ncnn(subject, folder)
            tolerance = TORCH_TOLERANCE if is_python else TOLERANCES[subject.weights]
            report = FormReport(form.name, folder / fault.file, "agrees")
            forms: list[tuple[Form, FormReport]] = [(form, report)]
            if not is_python:
                sound = FormReport("python", folder, "agrees", measures=[measure(None, None, "", "", 1.0)])
                forms.append((self._python, sound))
            try:
                form.load()
                for paths, draw, expected in zip(self._paths, self._draws, self._expected, strict=True):
                    outputs = form.run(paths)
                    for key in expected:
                        report.measures.append(
                            measure(expected[key], outputs.get(key), key, draw.name, tolerance)
                        )
            except ChildFailed as error:
                self.reason = f"{error.reason} {' | '.join(error.messages)}"
                form.close()
                self._ncnn = None if not is_python else self._ncnn
                if is_python:
                    self._subject = TorchForm(self._limits, self._base / "subject", STORED, STORED)
                return "fails", None
            if all(one.passed for one in report.measures):
                return "agrees", None
            report.state = "disagrees"
            bisect(subject, forms, self._reference, self._pick, Verdict(subject.stem))
            self.reason = report.no_divergence
            return "disagrees", report.divergence

    def _pick(self, report: FormReport) -> list[str]:
        failing = next(one for one in report.measures if not one.passed)
        return self._paths[[draw.name for draw in self._draws].index(failing.input)]

    def _load_python(self, folder: Path) -> Form:
        self._subject.path, self._subject.bin = folder / "model_pnnx.py", folder / "model.pnnx.bin"
        return self._subject

    def _load_ncnn(self, subject: Subject, folder: Path) -> Form:
        param, bin = folder / "model.ncnn.param", folder / "model.ncnn.bin"
        if self._ncnn is None:
            self._ncnn = NcnnForm(self._limits, self._base / "ncnn", subject, param, bin)
        else:
            self._ncnn.become(subject, param, bin)
        return self._ncnn


def networks() -> list[str]:
    return sorted(path.name for path in STORED.iterdir() if (path / "model.pt").exists())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    everything = options.all or options.write
    faults = [f for name in networks() for f in find_all(name)] if everything else read_faults()
    faults = [fault for fault in faults if options.only in fault.id]
    if options.write:
        faults = sample(faults, SAMPLED)
    counts: Counter[str] = Counter()
    kinds: Counter[tuple[str, bool]] = Counter()
    seen: list[Fault] = []
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        for fault in faults:
            state, divergence = bench.judge(fault)
            counts[state] += 1
            if state != "disagrees":
                continue
            named = divergence.operator if divergence else bench.reason
            kinds[fault.kind, named == fault.operator] += 1
            seen.append(fault)
            if named != fault.operator:
                causes = divergence.causes if divergence else ()
                print(f"{fault.id}: {fault.file}:{fault.line} names {named} {causes}")
        bench.close()
    right = sum(count for (_, is_right), count in kinds.items() if is_right)
    print(dict(counts), dict(kinds))
    print(f"{right} of {len(seen)} named exactly: {right / max(len(seen), 1):.1%}")
    if options.write:
        kept = sample(seen, KEPT)
        FAULTS.write_text(json.dumps([asdict(fault) for fault in kept], indent=0) + "\n")
        print(len(kept), "stored")


def sample(faults: list[Fault], size: int) -> list[Fault]:
    """Some of every network and kind, so that no long network drowns the others."""
    dice = random.Random(0)
    groups: dict[tuple[str, str, bool], list[Fault]] = {}
    for fault in faults:
        groups.setdefault((fault.network, fault.kind, "pnnx" in fault.file), []).append(fault)
    return [fault for group in groups.values() for fault in dice.sample(group, min(len(group), size))]


if __name__ == "__main__":
    main()
