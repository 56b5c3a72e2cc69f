"""Shape operators, each run in ncnn against numpy's meaning of it; every element must be the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from pnnxfix.rules.lowering.builder import NotExpressible
from pnnxfix.rules.lowering.stored import StoredTensor
from tests.lowering.run_layers import Array, run_rule


def numbers(*shape: int) -> Array:
    """Distinct numbers, with infinities, a nan and a negative zero among the first."""
    found = np.arange(np.prod(shape), dtype=np.float32) + 1
    special = [np.inf, -0.0, np.nan, -np.inf]
    found[: min(found.size // 3, 4)] = special[: min(found.size // 3, 4)]
    return np.random.default_rng(0).permutation(found).reshape(shape)


def assert_same(found: Sequence[Array], wanted: Sequence[Array]) -> None:
    assert [array.shape for array in found] == [array.shape for array in wanted]
    for one, two in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, two)


Case = tuple[str, tuple[Any, ...], Callable[..., Any]]
X: Any = None  # stands for the tensor


def stored(shape: tuple[int, ...], *items: int) -> StoredTensor:
    return StoredTensor(shape, items, "i64")


def pad_last(x: Array, *pairs: tuple[int, int], **how: Any) -> Array:
    """numpy's pad of the last axes only."""
    return np.pad(x, ((0, 0),) * (x.ndim - len(pairs)) + pairs, **how)


def windows(x: Array, size: int, axis: int) -> Array:
    return np.lib.stride_tricks.sliding_window_view(x, size, axis)


ALONG: list[Case] = [
    ("aten::movedim", (X, (0,), (-1,)), lambda x: np.moveaxis(x, 0, -1)),
    ("aten::movedim", (X, (0, 2), (1, 0)), lambda x: np.moveaxis(x, (0, 2), (1, 0))),
    ("aten::swapaxes", (X, 1, -1), lambda x: np.swapaxes(x, 1, -1)),
    ("aten::mT", (X,), lambda x: np.swapaxes(x, -1, -2)),
    ("aten::numpy_T", (X,), lambda x: x.T),
    ("aten::flip", (X, (1, -1)), lambda x: np.flip(x, (1, -1))),
    ("aten::fliplr", (X,), np.fliplr),
    ("aten::flipud", (X,), np.flipud),
    ("aten::rot90", (X, 1, (0, 1)), lambda x: np.rot90(x, 1)),
    ("aten::rot90", (X, -2, (1, 2)), lambda x: np.rot90(x, -2, (1, 2))),
    ("aten::rot90", (X, 7, (2, 0)), lambda x: np.rot90(x, 7, (2, 0))),
    ("aten::roll", (X, (2, -1), (0, 2)), lambda x: np.roll(x, (2, -1), (0, 2))),
    ("aten::roll", (X, (5,), None), lambda x: np.roll(x, 5)),
    ("aten::fft_fftshift", (X, None), np.fft.fftshift),
    ("aten::fft_ifftshift", (X, (1,)), lambda x: np.fft.ifftshift(x, 1)),
    ("aten::tile", (X, (2, 1, 3)), lambda x: np.tile(x, (2, 1, 3))),
    ("Tensor.repeat", (X, (2, 1, 1, 2)), lambda x: np.tile(x, (2, 1, 1, 2))),
    ("torch.repeat_interleave", (X, 2, 1, None), lambda x: np.repeat(x, 2, 1)),
    ("torch.repeat_interleave", (X, 3, None, None), lambda x: np.repeat(x, 3)),
    (
        "aten::pad",
        (X, (1, 2, 0, 3), "constant", 1.5),
        lambda x: pad_last(x, (0, 3), (1, 2), constant_values=1.5),
    ),
    ("aten::pad", (X, (-1, 0, 0, -1), "constant", None), lambda x: x[..., :-1, 1:]),
    ("aten::pad", (X, (2, 1), "reflect", None), lambda x: pad_last(x, (2, 1), mode="reflect")),
    ("aten::pad", (X, (2, 1), "replicate", None), lambda x: pad_last(x, (2, 1), mode="edge")),
    ("aten::pad", (X, (2, 3, 1, 0), "circular", None), lambda x: pad_last(x, (1, 0), (2, 3), mode="wrap")),
    ("aten::narrow_copy", (X, 1, 1, 2), lambda x: x[:, 1:3]),
    ("aten::unfold", (X, 2, 2, 1), lambda x: windows(x, 2, 2)),
    ("aten::unfold", (X, 0, 2, 2), lambda x: windows(x, 2, 0)[::2]),
    ("aten::tril", (X, 1), lambda x: np.where(np.tri(*x.shape[-2:], 1, dtype=bool), x, 0)),
    ("aten::triu", (X, -1), lambda x: np.where(np.tri(*x.shape[-2:], -2, dtype=bool), 0, x)),
    ("aten::diagonal", (X, 0, 0, 1), lambda x: np.diagonal(x)),
    ("aten::diagonal", (X, 1, -2, -1), lambda x: np.diagonal(x, 1, -2, -1)),
    ("aten::diagonal", (X, -1, 2, 0), lambda x: np.diagonal(x, -1, 2, 0)),
    ("torch.index_select", (X, 1, stored((5,), 2, 0, 0, -1, 1)), lambda x: x[:, [2, 0, 0, -1, 1]]),
    ("aten::take", (X, stored((2, 2), 5, 0, 3, -1)), lambda x: x.flat[[[5, 0], [3, -1]]]),
    ("aten::index", (X, (None, stored((3,), 2, 0, 2))), lambda x: x[:, [2, 0, 2]]),
    (
        "aten::index",
        (X, (stored((2, 1), 1, 0), None, stored((3,), 2, 0, 1))),
        lambda x: x[[[1], [0]], :, [2, 0, 1]],
    ),
    ("aten::index", (X, (None, stored((2,), 1, 0), stored((), 2))), lambda x: x[:, [1, 0], 2]),
]


@pytest.mark.parametrize("drop_batch", [False, True], ids=["whole", "batch"])
@pytest.mark.parametrize("case", ALONG, ids=[f"{case[0]}-{at}" for at, case in enumerate(ALONG)])
def test_moves_every_element_to_its_place(case: Case, drop_batch: bool) -> None:
    operator, arguments, expected = case
    for shape in ((3, 4, 5), (2, 3, 20), (1, 3, 4), (7, 3, 3), (2, 4, 4, 3), (1, 4, 3, 9)):
        x = numbers(*shape)
        try:
            wanted = expected(x)
        except (ValueError, IndexError):
            continue
        if wanted.size:
            assert_same(run_rule(operator, x, *arguments[1:], drop_batch=drop_batch), [wanted])


def test_takes_apart() -> None:
    x = numbers(4, 7)
    assert_same(run_rule("aten::unsafe_chunk", x, 3, 1), [x[:, :3], x[:, 3:6], x[:, 6:]])
    assert_same(run_rule("aten::tensor_split", x, 3, -1), np.array_split(x, 3, 1))
    assert_same(run_rule("aten::hsplit", x, (2, -1)), [x[:, :2], x[:, 2:6], x[:, 6:]])
    assert_same(run_rule("aten::split_with_sizes", x, (1, 3), 0), [x[:1], x[1:]])
    assert_same(run_rule("aten::unbind_copy", x, 0), list(x))


def test_puts_together() -> None:
    x, y, vector = numbers(2, 3), numbers(2, 4), numbers(2)
    assert_same(run_rule("aten::hstack", [x, y, x]), [np.hstack((x, y, x))])
    assert_same(run_rule("aten::vstack", [x, numbers(3)]), [np.vstack((x, numbers(3)))])
    assert_same(run_rule("aten::dstack", [x, x]), [np.dstack((x, x))])
    assert_same(run_rule("aten::column_stack", [vector, y]), [np.column_stack((vector, y))])
    assert_same(run_rule("torch.stack", [x, x], -1), [np.stack((x, x), -1)])
    z = np.zeros((3, 6), np.float32)
    z[:2, :2], z[2, 2:] = y[:, :2], y[0]
    assert_same(run_rule("aten::block_diag", [y[:, :2], y[0]]), [z])


def test_expands_and_repeats() -> None:
    x = numbers(3, 1, 2)
    for shape in ((3, 4, 2), (5, 3, 4, 2), (3, 1, 2), (2, 1, 3, 4, 2)):
        assert_same(run_rule("aten::broadcast_to", x, shape, shapes=[shape]), [np.broadcast_to(x, shape)])
    grids = np.meshgrid(numbers(3), numbers(4), indexing="xy")
    assert_same(run_rule("aten::meshgrid", [numbers(3), numbers(4)], "xy"), grids)
    x = numbers(2, 4)
    counts = stored((4,), 1, 0, 2, 3)
    assert_same(run_rule("torch.repeat_interleave", x, counts, 1, None), [np.repeat(x, (1, 0, 2, 3), 1)])


def test_diagonals() -> None:
    x = numbers(4, 5)
    wanted = np.where(np.eye(5, 5, 1) > 0, np.diagflat(x[:, 0], 1), 0)
    assert_same(run_rule("aten::diag_embed", x[:, 0], 1, 0, 1), [wanted])
    batched = run_rule("aten::diag_embed", x, 0, -2, -1)[0]
    assert_same([batched], [np.stack([np.where(np.eye(5) > 0, row, 0) for row in x])])
    y = x.copy()
    np.fill_diagonal(y, [-1, -2, -3, -4])
    assert_same(run_rule("aten::diagonal_scatter", x, np.array([-1.0, -2, -3, -4]), 0, 0, 1), [y])
    finite = np.arange(12.0).reshape(3, 4)
    assert_same(run_rule("aten::trace", finite), [np.trace(finite)])
    strided = np.lib.stride_tricks.as_strided(finite.ravel()[1:], (3, 2), (8, 16))
    assert_same(run_rule("aten::as_strided", finite, (3, 2), (1, 2), 1), [strided])


def test_products() -> None:
    rng = np.random.default_rng(1)
    a, c = rng.normal(size=(2, 3)).astype(np.float32), rng.normal(size=(4, 5)).astype(np.float32)
    np.testing.assert_allclose(run_rule("aten::kron", a, c)[0], np.kron(a, c), rtol=1e-6)
    v, w = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)
    for operator, arguments, product in (
        ("torch.cross", (v, w, 1), np.cross(v, w)),
        ("aten::diff", (c, 2, -1, None, None), np.diff(c, 2)),
        ("aten::vander", (v[:, 0], None, False), np.vander(v[:, 0])),
    ):
        np.testing.assert_allclose(run_rule(operator, *arguments)[0], product, rtol=1e-4, atol=1e-6)
    grids = np.meshgrid(numbers(2), numbers(3), indexing="ij")
    wanted = np.stack([grid.ravel() for grid in grids], 1)
    assert_same(run_rule("aten::cartesian_prod", [numbers(2), numbers(3)]), [wanted])
    x = numbers(4)
    pairs = [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    assert_same(run_rule("aten::combinations", x, 2, False), [x[pairs]])


def test_gathers_along_an_axis() -> None:
    x = numbers(3, 5)
    index = np.array([[0, 4], [1, 1], [2, 3]])
    places = stored((3, 2), *(int(at) for at in index.flat))
    assert_same(run_rule("torch.gather", x, 1, places), [np.take_along_axis(x, index, 1)])
    wide = stored((1, 2), 4, 0)
    assert_same(
        run_rule("aten::take_along_dim", x, wide, 1), [np.take_along_axis(x, np.array([[4, 0]] * 3), 1)]
    )


def test_gathers_from_axes_longer_than_one_row_of_cells() -> None:
    for size in (1500, 1499, 4096):
        x = np.arange(2.0 * size, dtype=np.float32).reshape(2, size)
        index = np.random.default_rng(2).permutation(size)[:300]
        places = stored((300,), *(int(at) for at in index))
        assert_same(run_rule("torch.index_select", x, 1, places), [x[:, index]])


def test_writes_at_places() -> None:
    x, y = numbers(3, 4), numbers(4)

    def written(where: Any, value: Any) -> list[Array]:
        result = x.copy()
        result[where] = value
        return [result]

    rows = stored((2,), 2, 0)
    assert_same(run_rule("aten::select_scatter", x, y, 0, -2), written(1, y))
    odd = (slice(None), slice(1, None, 2))
    assert_same(run_rule("aten::slice_scatter", x, x[:, :2], 1, 1, None, 2), written(odd, x[:, :2]))
    assert_same(run_rule("aten::index_fill", x, 0, rows, 2.5), written([0, 2], 2.5))
    assert_same(run_rule("aten::index_copy", x, 0, rows, x[:2]), written([2, 0], x[:2]))
    assert_same(
        run_rule("aten::put", x, stored((3,), 5, 0, -1), y[:3], False),
        written((np.array([1, 0, 2]), np.array([1, 0, 3])), y[:3]),
    )
    finite = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    added = finite.copy()
    np.add.at(added, [2, 0, 2], 2 * finite)
    assert_same(run_rule("aten::index_add", finite, 0, stored((3,), 2, 0, 2), finite, 2), [added])


def test_makes_constants() -> None:
    x = numbers(2, 3)
    assert_same(run_rule("aten::zero", None, shapes=[(2, 3)]), [np.zeros((2, 3))])
    assert_same(run_rule("torch.full", None, -1.5, None, shapes=[(2, 3)]), [np.full((2, 3), -1.5)])
    assert_same(run_rule("aten::eye", None, shapes=[(2, 3)]), [np.eye(2, 3)])
    assert_same(run_rule("aten::linspace", 0.0, 1.0, 5, shapes=[(5,)]), [np.linspace(0, 1, 5)])
    assert_same(run_rule("torch.real", x), [x])


@pytest.mark.parametrize(
    ("operator", "arguments", "reason"),
    [
        ("torch.index_select", (0, stored((1,), 3)), "outside"),
        ("torch.index_select", (0, StoredTensor((1,), (0.5,), "f32")), "integers"),
        ("aten::narrow_copy", (1, 3, 2), "impossible slice"),
        ("aten::pad", ((1, 1), "constant", float("inf")), "spelling"),
        ("aten::pad", ((9, 0), "reflect", None), "outside"),
        ("aten::unfold", (0, 9, 1), "do not fit"),
        ("Tensor.repeat", ((0, 2),), "no elements"),
        ("aten::index_copy", (0, stored((2,), 1, 1), numbers(2, 4)), "two writes"),
        ("aten::as_strided", ((9, 9), (4, 1), 0), "beyond"),
        ("aten::diagonal", (9, 0, 1), "no diagonal"),
    ],
)
def test_refuses(operator: str, arguments: tuple[Any, ...], reason: str) -> None:
    with pytest.raises(NotExpressible, match=reason):
        run_rule(operator, numbers(3, 4), *arguments)
