"""The TorchScript reader: samples that torch wrote, archives made by hand, hostile and damaged ones."""

from __future__ import annotations

import io
import math
import time
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pnnxfix.codecs import torchscript
from pnnxfix.codecs.torchscript import MAX_MODULE_DEPTH, Argument, TracedCode, read_calls
from pnnxfix.errors import ParseError

SAMPLES = Path(__file__).parents[2] / "fixtures" / "torchscript"
CLAMPS = ("aten::clamp_min", "aten::clamp_max")
HEAD = "class M(Module):\n  training : bool\n"
PICKLE = b"\x80\x02c__torch__\nM\nq\x00."


def read_sample(name: str, *names: str) -> TracedCode:
    return read_calls(SAMPLES / f"{name}.pt", names or CLAMPS)


def make_archive(files: dict[str, str | bytes], pickle: bytes = PICKLE, root: str = "m") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{root}/data.pkl", pickle)
        for name, text in files.items():
            archive.writestr(f"{root}/code/{name}", text)
    return buffer.getvalue()


def make_forward(*lines: str, classes: str = "", attributes: str = "") -> bytes:
    body = "".join(f"    {line}\n" for line in lines)
    signature = "  def forward(self: __torch__.M,\n    x: Tensor) -> Tensor:\n"
    return make_archive({"__torch__.py": f"{HEAD}{attributes}{signature}{body}{classes}"})


def bounds(code: TracedCode) -> list[str]:
    """The second argument of each call: its literal text, `?` if it is none."""
    return [call.arguments[1].text if call.arguments[1].is_literal else "?" for call in code.calls]


# What must not be taken for certain, or for a literal, comes first.


@pytest.mark.parametrize(
    "expression",
    [
        "x",
        "torch.mean(x)",
        "CONSTANTS.c0",
        "torch.neg(1)",
        "float(x)",
        'float("no number")',
        "int(inf)",
        "2j",
        "-x",
        "[1, x]",
        "self.bound",
        'getattr(self, "bound")',
        "[1, 2][0]",
        "1 if x else 2",
        "missing",
    ],
)
def test_no_literal(expression: str) -> None:
    (call,) = read_calls(make_forward(f"return torch.clamp_min(x, {expression})"), CLAMPS).calls
    assert not call.arguments[1].is_literal
    assert call.arguments[1].value is None
    assert call.arguments[1].text == expression


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["if x:", "  y = torch.clamp_min(x, 1)"], "under a condition or in a loop: m/code/__torch__.py:6"),
        (["for i in range(2):", "  y = torch.clamp_min(x, 1)"], "condition or in a loop"),
        (["while torch.clamp_min(x, 1):", "  y = torch.relu(x)"], "condition or in a loop"),
        (["if x:", "  return x", "return torch.clamp_min(x, 1)"], "condition or in a loop"),
        (["return torch.clamp_min(x, 1) if x else x"], "condition or in a loop"),
        (["return [torch.clamp_min(y, 1) for y in x]"], "condition or in a loop"),
        (["return (self.m).forward(x, )"], "calls what is not known here"),
        (["return (x).forward(x, )"], "calls what is not known here"),
        (["return fork(x)"], "calls what is not known here: fork(x)"),
        (["return __torch__.gone(x, )"], "__torch__.gone is not in the archive"),
        (["return (self).gone(x, )"], "__torch__.M.gone is not in the archive"),
        (["with x:", "  y = torch.relu(x)"], "no statement known here"),
        (["def inner(y):", "  return torch.clamp_min(y, 1)"], "no statement known here"),
    ],
)
def test_not_certain(lines: list[str], reason: str) -> None:
    code = read_calls(make_forward(*lines), CLAMPS)
    assert not code.certain
    assert reason in code.reason


def test_hooks_are_not_certain() -> None:
    data = make_forward("return torch.clamp_min(x, 1)", attributes='  __forward_hooks__ = ["h", ]\n')
    assert not read_calls(data, CLAMPS).certain


def test_no_forward_is_not_certain() -> None:
    assert read_calls(make_archive({"__torch__.py": HEAD}), CLAMPS) == TracedCode(
        (), False, "__torch__.M.forward is not in the archive"
    )


def test_a_branch_leaves_no_literal_behind() -> None:
    data = make_forward("lo = 1", "if x:", "  lo = 2", "return torch.clamp_min(x, lo)")
    code = read_calls(data, CLAMPS)
    assert code.certain
    assert bounds(code) == ["?"]


def test_a_branch_leaves_no_module_behind() -> None:
    lines = ("m = self.a", "if x:", "  m = self.b", "return (m).forward(x, )")
    classes = "".join(
        f"class {name}(Module):\n  def forward(self: __torch__.{name}, x: Tensor) -> Tensor:\n"
        f"    return torch.clamp_min(x, {bound})\n"
        for name, bound in (("A", 1), ("B", 2))
    )
    code = read_calls(
        make_forward(*lines, classes=classes, attributes="  a : __torch__.A\n  b : __torch__.B\n"), CLAMPS
    )
    assert not code.certain
    assert code.calls == ()


def test_default_of_the_saved_module_is_no_literal() -> None:
    text = HEAD + "  def forward(self: __torch__.M,\n    x: Tensor,\n    lo: int=2) -> Tensor:\n"
    data = make_archive({"__torch__.py": text + "    return torch.clamp_min(x, lo)\n"})
    assert bounds(read_calls(data, CLAMPS)) == ["?"]


# Samples that torch wrote.


def test_values() -> None:
    texts = ["0.10000000000000001", "9.9999999999999995e-08", "0.0123456789", "10000000000", "10000000000"]
    texts += ["-0.", "inf", "-inf", "nan", "3.4e+38", "9.9999999999999998e-46", "-1", "0", "-2.5"]
    texts += ["123456.789", "0.33333333333333331", "100000.", "4611686018427387904", "-9223372036854775808"]
    values = [0.1, 1e-7, 0.0123456789, 10**10, 10**10, -0.0, math.inf, -math.inf, math.nan]
    values += [3.4e38, 1e-45, -1, 0, -2.5, 123456.789, 1 / 3, 1e5, 2**62, -(2**63)]
    code = read_sample("values")
    assert code.certain
    assert bounds(code) == texts
    found = [call.arguments[1].value for call in code.calls]
    assert [repr(value) for value in found] == [repr(value) for value in values]
    assert [call.line for call in code.calls] == list(range(8, 8 + len(values)))
    assert {call.member for call in code.calls} == {"values/code/__torch__.py"}


def test_nested_modules_in_execution_order() -> None:
    code = read_sample("nested")
    assert code.certain
    assert bounds(code) == ["0.5", "0.25", "0.5", "0.5", "1", "2", "6."]
    assert [call.operator for call in code.calls] == ["aten::clamp_min"] * 6 + ["aten::clamp_max"]
    first, third = code.calls[0], code.calls[2]
    assert (first.member, first.line) == ("nested/code/__torch__/___torch_mangle_0.py", 8)
    assert (third.member, third.line) == (first.member, 11)


def test_several_bounds_and_none() -> None:
    calls = read_sample("nested", "aten::clamp").calls
    values = [[argument.value for argument in call.arguments[1:]] for call in calls]
    assert values == [[0.1], [None, 3], [0, 1]]
    assert all(argument.is_literal for call in calls for argument in call.arguments[1:])


def test_computed_bounds() -> None:
    code = read_sample("computed")
    assert code.certain
    assert bounds(code) == ["?", "?", "?", "4.", "?"]
    assert code.calls[2].arguments[1].text == "torch.mean(x)"


def test_branches() -> None:
    code = read_sample("branches")
    assert not code.certain
    assert "branches/code/__torch__.py:12" in code.reason
    assert bounds(code) == ["0.10000000000000001", "2.5", "?", "?"]


def test_branches_without_such_calls() -> None:
    code = read_sample("harmless")
    assert code.certain
    assert bounds(code) == ["0.125"]


def test_list() -> None:
    (call,) = read_sample("harmless", "aten::constant_pad_nd").calls
    assert call.arguments[1] == Argument("", "[1, 2]", True, (1, 2))


def test_scripted_function_in_a_traced_module() -> None:
    code = read_sample("mixed")
    assert not code.certain
    assert bounds(code) == ["0.75", "0.125", "4.", "7"]


def test_mangled_top_class() -> None:
    assert bounds(read_sample("mangled")) == ["9"]


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.pt")), ids=lambda path: path.stem)
def test_bytes_and_path_give_the_same(path: Path) -> None:
    assert repr(read_calls(path.read_bytes(), CLAMPS)) == repr(read_calls(str(path), CLAMPS))
    assert read_calls(path, ()).calls == ()


# Forms that torch prints, one by one.


@pytest.mark.parametrize(
    ("lines", "text", "value"),
    [
        (["return torch.clamp_min(x, 0)"], "0", 0),
        (["_0 = torch.clamp_min_(x, 0.)"], "0.", 0.0),
        (["torch.clamp_min_(x, 0.)"], "0.", 0.0),
        (["return ops.aten.clamp_min(x, -1)"], "-1", -1),
        (["y = torch.clamp_min(x, True)"], "True", True),
        (["return torch.clamp_min(x, None)"], "None", None),
        (['return torch.clamp_min(x, "é")'], '"é"', "é"),
        (["a = 0.5", "b = a", "return torch.clamp_min(x, b)"], "0.5", 0.5),
        (["a = annotate(float, 0.5)", "return torch.clamp_min(x, a)"], "0.5", 0.5),
        (["a, b, = (x, 0.5)", "return torch.clamp_min(x, b)"], "0.5", 0.5),
        (["a : float = 0.5", "return torch.clamp_min(x, a)"], "0.5", 0.5),
        (["return torch.clamp_min(x, float(2))"], "float(2)", 2.0),
        (["return torch.clamp_min(x, int(-2.5))"], "int(-2.5)", -2),
        (["return torch.clamp_min(x, [1, -inf, []])"], "[1, -inf, []]", (1, -math.inf, ())),
    ],
)
def test_literal(lines: list[str], text: str, value: object) -> None:
    (call,) = read_calls(make_forward(*lines), CLAMPS).calls
    assert call.operator == "aten::clamp_min"
    assert call.arguments[1] == Argument("", text, True, value)
    assert type(call.arguments[1].value) is type(value)


def test_keyword_and_other_namespace() -> None:
    data = make_forward("y = torch.add(x, x, alpha=2)", "return ops.quantized.clamp(y, 1)")
    add, clamp = read_calls(data, ("aten::add", "quantized::clamp")).calls
    assert add.arguments[2] == Argument("alpha", "2", True, 2)
    assert clamp.operator == "quantized::clamp"


def test_arguments_run_before_their_call() -> None:
    data = make_forward("return torch.clamp_min(torch.clamp_min(x, 1), torch.clamp_max(x, 2))")
    assert bounds(read_calls(data, CLAMPS)) == ["1", "2", "?"]


def test_operators_whose_name_ends_with_underscores() -> None:
    data = make_forward("return torch.__and__(x, 1)")
    assert len(read_calls(data, ("aten::__and__",)).calls) == 1


@given(st.lists(st.floats() | st.integers(-(2**63), 2**63 - 1) | st.booleans(), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_any_number_comes_back(numbers: list[float]) -> None:
    data = make_forward(*(f"x{i} = torch.clamp_max(x, {number!r})" for i, number in enumerate(numbers)))
    code = read_calls(data, CLAMPS)
    assert code.certain
    assert [repr(call.arguments[1].value) for call in code.calls] == [repr(number) for number in numbers]


# Damaged and hostile archives.


def fail(data: bytes) -> ParseError:
    with pytest.raises(ParseError) as caught:
        read_calls(data, CLAMPS)
    return caught.value


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a TorchScript archive"),
        (b"7767517\n1 1\n", "not a TorchScript archive"),
        (make_archive({}), "no code/__torch__"),
        (make_archive({"__torch__.py": ""}, b"\x80\x02]."), "does not name the class"),
        (make_archive({"__torch__.py": ""}, b"\x80\x02cos\nsystem\n."), "does not name the class"),
        (make_archive({"__torch__.py": ""}, b""), "does not name the class"),
    ],
)
def test_not_an_archive(data: bytes, reason: str) -> None:
    assert reason in str(fail(data))


def test_missing_file_and_directory(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(ParseError, match="cannot be read"):
            read_calls(path, CLAMPS)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("return torch.clamp_min(x, 1", "cannot be parsed"),
        ("a = 1; b = 2", "not one statement"),
        ("return " + "(" * 5000, "tokens deep"),
        ("return " + "-" * 100_000 + "1", "tokens deep"),
        ("return x" + ".a" * 100_000, "tokens deep"),
        ("return x" + "()" * 100_000, "tokens deep"),
        ("return " + "not " * 100_000 + "x", "tokens deep"),
        ("return " + "[" * 100, "cannot be parsed"),
        ("a = " + "9" * 100_000, "thousands of digits"),
        ("a = 1" + " " * 1_100_000 + "+ 1", "a line of"),
        ("return " + '"\\' * 300_000, "cannot be parsed"),
    ],
)
def test_hostile_line(line: str, reason: str) -> None:
    started = time.perf_counter()
    error = fail(make_forward(line))
    assert reason in error.reason
    assert error.line == 5
    assert error.path.endswith("m/code/__torch__.py")
    assert time.perf_counter() - started < 10


def test_not_utf8() -> None:
    error = fail(make_archive({"__torch__.py": HEAD.encode() + b"\n\xff\n"}))
    assert (error.reason, error.line) == ("not UTF-8", 4)


def test_two_roots_and_two_members_of_one_name() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("m/code/__torch__.py", HEAD)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("m/code/__torch__.py", HEAD)
    assert "two members" in str(fail(buffer.getvalue()))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("m/code/__torch__.py", HEAD)
        archive.writestr("n/code/__torch__/a.py", HEAD)
    assert "one folder" in str(fail(buffer.getvalue()))


def test_zip_bomb_is_not_unpacked() -> None:
    data = make_archive({"__torch__.py": b"\n" * 30_000_000})
    tracemalloc.start()
    try:
        assert "bytes of code" in str(fail(data))
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_size_that_lies() -> None:
    data = bytearray(make_archive({"__torch__.py": b"\n" * 10_000_000}))
    end = data.rindex(b"PK\x01\x02")
    data[end + 24 : end + 28] = (100).to_bytes(4, "little")
    assert "damaged" in str(fail(bytes(data)))


@pytest.mark.parametrize(
    ("offset", "value"), [(8, 1), (10, 12), (10, 99)], ids=["encrypted", "bzip2", "unknown"]
)
def test_odd_members(offset: int, value: int) -> None:
    data = bytearray(make_archive({"__torch__.py": HEAD}))
    for signature, shift in ((b"PK\x01\x02", 0), (b"PK\x03\x04", -2)):
        data[data.rindex(signature) + offset + shift] = value
    assert "m/code/__torch__.py" in str(fail(bytes(data)))


def test_recursion() -> None:
    error = fail(make_forward("return (self).forward(x, )"))
    assert error.reason == f"calls nest more than {MAX_MODULE_DEPTH} deep"


def test_exponential_inlining_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchscript, "MAX_CALLS", 5000)
    classes = "".join(
        f"class C{i}(Module):\n  n : __torch__.C{i + 1}\n"
        f"  def forward(self: __torch__.C{i}, x: Tensor) -> Tensor:\n"
        "    y = (self.n).forward(x, )\n    return (self.n).forward(y, )\n"
        for i in range(30)
    )
    last = "class C30(Module):\n  def forward(self: __torch__.C30, x: Tensor) -> Tensor:\n    return {}\n"
    for expression, cut in (("torch.clamp_min(x, 1)", True), ("torch.relu(x)", False)):
        data = make_forward(
            "return (self.c).forward(x, )",
            classes=classes + last.format(expression),
            attributes="  c : __torch__.C0\n",
        )
        if cut:
            assert fail(data).reason == "more than 5000 calls"
        else:
            assert read_calls(data, CLAMPS) == TracedCode((), True, "")


@pytest.mark.parametrize(
    "lines",
    [
        ["a = [x]", *["a = [a, a]"] * 100, "return torch.clamp_min(x, a)"],
        ["a = [1]", *["a = [a, a]"] * 100, "return torch.clamp_min(x, a)"],
        ["a = 1", *["a = -a"] * 20_000, "return torch.clamp_min(x, a)"],
        ["a = 1", *["a = float(a)"] * 20_000, "return torch.clamp_min(x, a)"],
    ],
    ids=["unknown-lists", "lists", "signs", "conversions"],
)
def test_values_that_grow(lines: list[str]) -> None:
    assert bounds(read_calls(make_forward(*lines), CLAMPS)) == ["?"]


def test_long_literal_used_often() -> None:
    lines = [f'a = "{"b" * 900_000}"', *["y = torch.clamp_min(x, a)"] * 1000]
    assert "characters" in fail(make_forward(*lines)).reason


def test_many_calls_in_one_function() -> None:
    data = make_forward(*(f"x{i} = torch.relu(torch.clamp_min(x, {i}))" for i in range(5000)))
    assert bounds(read_calls(data, CLAMPS)) == [str(i) for i in range(5000)]


@pytest.mark.parametrize("name", ["nested", "branches"])
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_damaged_sample_never_raises_another_error(name: str, data: st.DataObject) -> None:
    content = bytearray((SAMPLES / f"{name}.pt").read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))]
    with suppress(ParseError):
        read_calls(bytes(content), CLAMPS)


@given(st.text(st.sampled_from("\"'\\()[]{},:=.- \n01axtorch_clamp_min#;@\u00e9"), max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_code_never_raises_another_error(text: str) -> None:
    with suppress(ParseError):
        read_calls(make_forward(*text.split("\n")), CLAMPS)
