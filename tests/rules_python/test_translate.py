"""One leaked call at a time: which overload it is, and how it reads in Python."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pnnxfix.rules.base import Refusal
from pnnxfix.rules.schema_call import Translation, is_known, translate
from pnnxfix.rules.schema_values import read_value

Defined = Mapping[str, str]


def read(text: str, defined: Defined, outputs: int = 1) -> Translation | Refusal:
    """Translate `operator(a, b)`; values that are not defined are tensors."""
    operator, _, inside = text.removesuffix(")").partition("(")
    words = [word for word in inside.split(", ") if word]
    return translate(operator, [read_value(word, defined.get) for word in words], outputs)


REFUSED = {
    "too-few-arguments": ("aten::addcmul(v_0, v_0)", {}, 1, "no overload"),
    "too-many-outputs": ("aten::frac(v_0)", {}, 2, "no overload"),
    "none-for-a-tensor": ("aten::heaviside(v_0, v_1)", {"v_1": "None"}, 1, "no overload"),
    "float-for-an-integer": ("aten::rot90(v_0, v_1, v_2)", {"v_1": "1.5", "v_2": "[0, 1]"}, 1, "no overload"),
    "string-for-a-number": ("aten::lerp(v_0, v_0, v_1)", {"v_1": "amax"}, 1, "no overload"),
    "not-in-pytorch": ("aten::no_such_operator(v_0)", {}, 1, "has no operator"),
    "bare-word-of-a-stranger": ("mylib::pack(v_0, v_1)", {"v_1": "fast"}, 1, "bare word"),
    "bare-word-in-a-list-of-a-stranger": ("mylib::pack(v_0, v_1)", {"v_1": "[fast]"}, 1, "bare word"),
    "dtype-that-does-not-exist": (
        "aten::nansum(v_0, v_1, v_2, v_3)",
        {"v_1": "None", "v_2": "False", "v_3": "1234"},
        1,
        "no overload",
    ),
    # mean and std could be numbers or tensors, and one of the overloads has another meaning.
}  # fmt: skip


@pytest.mark.parametrize(("text", "defined", "outputs", "because"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_certain_is_refused(text: str, defined: Defined, outputs: int, because: str) -> None:
    result = read(text, defined, outputs)
    assert isinstance(result, Refusal)
    assert because in result.reason
    assert result.help


F, N, T = "False", "None", "True"
TRANSLATED = {
    # public names
    "function": ("aten::frac(v_0)", {}, "torch.frac(v_0)"),
    "method": ("aten::view_as(v_0, v_1)", {}, "v_0.view_as(v_1)"),
    "property": ("aten::numpy_T(v_0)", {}, "v_0.T"),
    "linalg": ("aten::linalg_matrix_exp(v_0)", {}, "torch.linalg.matrix_exp(v_0)"),
    "special": ("aten::special_i1e(v_0)", {}, "torch.special.i1e(v_0)"),
    "fft": ("aten::fft_fftshift(v_0, v_1)", {"v_1": "[0, 2]"}, "torch.fft.fftshift(v_0, [0, 2])"),
    "private": (
        "aten::_safe_softmax(v_0, v_1, v_2)", {"v_1": "2", "v_2": N}, "torch.ops.aten._safe_softmax(v_0, 2)",
    ),
    "wrapper": (
        "aten::cross_entropy_loss(v_0, v_1, v_2, v_3, v_4, v_5)",
        {"v_2": N, "v_3": "1", "v_4": "-100", "v_5": "0.0"},
        "F.cross_entropy(v_0, v_1)",
    ),
    "wrapper-with-everything": (
        "aten::cross_entropy_loss(v_0, v_1, v_2, v_3, v_4, v_5)",
        {"v_3": "0", "v_4": "7", "v_5": "0.1"},
        "F.cross_entropy(v_0, v_1, weight=v_2, reduction='none', ignore_index=7, label_smoothing=0.1)",
    ),
    # a reduction that is computed has no name
    "wrapper-that-does-not-fit": (
        "aten::l1_loss(v_0, v_1, v_2)", {"v_2": "v_5.size(0)"}, "torch.ops.aten.l1_loss(v_0, v_1, v_2)",
    ),
    "star": ("aten::block_diag(v_2)", {"v_2": "[v_0, v_1]"}, "torch.block_diag(*v_2)"),
    # overloads
    "by-bool": ("aten::var(v_0, v_1)", {"v_1": F}, "torch.var(v_0, False)"),
    "by-count": (
        "aten::var(v_0, v_1, v_2, v_3)", {"v_1": N, "v_2": "-1", "v_3": F}, "torch.var(v_0, correction=-1)",
    ),
    "old-dim": (
        "aten::var(v_0, v_1, v_2, v_3)",
        {"v_1": "[1]", "v_2": T, "v_3": F},
        "torch.var(v_0, [1], True, False)",
    ),
    "tensor-or-number": ("aten::special_zeta(v_0, v_1)", {"v_1": "2.0"}, "torch.special.zeta(v_0, 2.0)"),
    "computed": ("aten::special_zeta(v_0, v_1)", {"v_1": "(v_7 + 1)"}, "torch.special.zeta(v_0, v_1)"),
    "string": (
        "aten::linalg_norm(v_0, v_1, v_2, v_3, v_2)",
        {"v_1": "fro", "v_2": N, "v_3": F},
        "torch.linalg.norm(v_0, 'fro')",
    ),
    "by-its-name": (
        "aten::upsample_bicubic2d(v_0, v_1, v_2, v_3)",
        {"v_1": "[3, 4]", "v_2": F, "v_3": N},
        "torch.ops.aten.upsample_bicubic2d.vec(v_0, [3, 4], False, None)",
    ),
    # a default that another overload would take over must stay
    "default-that-decides": ("aten::std(v_0, v_1)", {"v_1": T}, "torch.std(v_0, True)"),
    "in-place-only": ("aten::random(v_0, v_1)", {"v_1": N}, "torch.ops.aten.random(v_0)"),
    # values
    "keyword-only": (
        "aten::addcdiv(v_0, v_1, v_2, v_3)", {"v_3": "0.5"}, "torch.addcdiv(v_0, v_1, v_2, value=0.5)",
    ),
    "default-as-another-number": (
        "aten::addcdiv(v_0, v_1, v_2, v_3)", {"v_3": "1.000000e+00"}, "torch.addcdiv(v_0, v_1, v_2)",
    ),
    "infinity": (
        "aten::linalg_norm(v_0, v_1, v_2, v_3, v_2)",
        {"v_1": "-inf", "v_2": N, "v_3": F},
        "torch.linalg.norm(v_0, float('-inf'))",
    ),
    "nan": ("aten::index_fill(v_0, v_1, v_2, v_3)", {"v_1": "0", "v_3": "nan"},
        "torch.index_fill(v_0, 0, v_2, float('nan'))"),
    "complex": ("aten::lerp(v_0, v_1, v_2)", {"v_2": "1.000000e+00-2.500000e+00j"},
        "torch.lerp(v_0, v_1, 1.000000e+00-2.500000e+00j)"),
    "dtype": (
        "aten::nansum(v_0, v_1, v_2, v_3)", {"v_1": "[1]", "v_2": F, "v_3": "15"},
        "torch.nansum(v_0, [1], dtype=torch.bfloat16)",
    ),
    "memory-format": ("aten::chalf(v_0, v_1)", {"v_1": "2"}, "v_0.chalf(memory_format=torch.channels_last)"),
    "layout-and-device": (
        "aten::randint_like(v_0, v_1, v_2, v_3, v_4, v_5, v_2)",
        {"v_1": "10", "v_2": N, "v_3": "0", "v_4": "cpu", "v_5": F},
        "torch.randint_like(v_0, 10, layout=torch.strided, device='cpu', pin_memory=False)",
    ),
    "word-in-parentheses": (
        "aten::meshgrid(v_1, v_2)", {"v_1": "[v_0, v_3]", "v_2": "(ij)"},
        "torch.meshgrid(*v_1, indexing='ij')",
    ),
    "list-with-references": (
        "aten::expand_copy(v_0, v_2, v_3)", {"v_1": "5", "v_2": "[v_1, 4]", "v_3": F},
        "torch.expand_copy(v_0, [5, 4])",
    ),
    "list-that-is-computed": (
        "aten::expand_copy(v_0, v_2, v_3)", {"v_1": "v_0.size(1)", "v_2": "[v_1, 4]", "v_3": F},
        "torch.expand_copy(v_0, v_2)",
    ),
    "long-list": (
        "aten::as_strided_copy(v_0, v_1, v_2, v_3)",
        {"v_1": f"[{', '.join(map(str, range(40)))}]", "v_2": "[1]", "v_3": N},
        "torch.as_strided_copy(v_0, v_1, [1])",
    ),
    "empty-list-that-became-none": (
        "aten::hash_tensor(v_0, v_1, v_2, v_3)", {"v_1": N, "v_2": F, "v_3": "0"},
        "torch.hash_tensor(v_0, [])",
    ),
    "number-for-a-tensor": (
        "aten::heaviside(v_0, v_1)", {"v_1": "0.5"}, "torch.heaviside(v_0, torch.tensor(0.5))",
    ),
    "one-default-for-a-list": (
        "aten::avg_pool2d(v_0, v_1, v_1, v_2, v_3, v_4, v_5)",
        {"v_1": "[2, 2]", "v_2": "[0, 0]", "v_3": F, "v_4": T, "v_5": N},
        "F.avg_pool2d(v_0, [2, 2], [2, 2])",
    ),
    # TorchScript's own
    "list": ("prim::ListConstruct(v_0, v_1)", {"v_1": "2"}, "[v_0, 2]"),
    "tuple": ("prim::TupleConstruct(v_0)", {}, "(v_0, )"),
    "dict": ("prim::DictConstruct(v_2, v_0)", {"v_2": "a"}, "{'a': v_0}"),
    "one-element": ("prim::ListUnpack(v_0)", {}, "v_0[0]"),
    "item": ("aten::__getitem__(v_0, v_1)", {"v_1": "-1"}, "v_0[-1]"),
    "integer": ("aten::Int(v_0)", {}, "int(v_0)"),
    # other libraries
    "torchvision": (
        "torchvision::nms(v_0, v_1, v_2)", {"v_2": "0.5"}, "torch.ops.torchvision.nms(v_0, v_1, 0.5)",
    ),
    "stranger": ("mylib::pack(v_0, v_1, v_2)", {"v_1": "[1, inf]", "v_2": N},
        "torch.ops.mylib.pack(v_0, [1, float('inf')], None)"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "defined", "expression"), TRANSLATED.values(), ids=TRANSLATED)
def test_call_reads(text: str, defined: Defined, expression: str) -> None:
    result = read(text, defined)
    assert isinstance(result, Translation), result
    assert result.expression == expression


def test_the_trap_of_two_signatures() -> None:
    """By position, Python would take -1 for `unbiased` and say nothing."""
    result = read("aten::var_mean(v_0, v_1, v_2, v_3)", {"v_1": N, "v_2": "-1", "v_3": F}, outputs=2)
    assert result == Translation("torch.var_mean(v_0, correction=-1)")


@pytest.mark.parametrize(("text", "is_list"), [("aten::vsplit(v_0, v_1)", True), ("aten::frac(v_0)", False)])
def test_whether_a_list_comes_out(text: str, is_list: bool) -> None:
    result = read(text, {"v_1": "2"})
    assert isinstance(result, Translation)
    assert result.gives_list is is_list


def test_several_outputs_unpack() -> None:
    result = read("prim::TupleUnpack(v_0)", {}, outputs=3)
    assert result == Translation("v_0")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("aten::bernoulli(v_0, v_1)", "random"),
        ("aten::new_empty(v_0, v_2, v_1, v_1, v_1, v_1)", "uninitialised"),
        ("torchvision::nms(v_0, v_0, v_3)", "torchvision"),
        ("mylib::pack(v_0)", "`mylib`"),
    ],
)
def test_what_the_user_should_know_is_said(text: str, word: str) -> None:
    result = read(text, {"v_1": N, "v_2": "[2]", "v_3": "0.5"})
    assert isinstance(result, Translation)
    assert word in result.note


def test_what_is_known() -> None:
    assert is_known("aten::frac")
    assert is_known("prim::ListUnpack")
    assert is_known("aten::random")
    assert not is_known("aten::no_such_operator")
    assert not is_known("mylib::pack")


def test_too_many_arguments_are_refused_at_once() -> None:
    result = read("mylib::pack(" + ", ".join(["v_0"] * 256) + ")", {})
    assert isinstance(result, Refusal)
