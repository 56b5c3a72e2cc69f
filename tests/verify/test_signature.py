"""Signatures: what they see of a difference, and what makes no difference to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pnnxfix.verify.distance import Value as NetworkValue
from pnnxfix.verify.distance import find_errors, is_rearranged
from pnnxfix.verify.network import Network
from pnnxfix.verify.signature import Record, Recorder, read_numbers, read_records, sign


def distance(a: np.ndarray, b: np.ndarray) -> float:
    values = [NetworkValue(Record("", sign(x), {}), "", ()) for x in (a, b)]
    return float(find_errors(values[:1], values[1:])[0, 0])


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3000), st.floats(1e-5, 1e3), st.integers(0, 1000))
def test_a_distance_is_estimated_within_a_third(count: int, size: float, seed: int) -> None:
    a, noise = draw(count, seed=seed), draw(count, seed=seed + 1) * np.float32(size)
    exact = np.linalg.norm(noise) / np.linalg.norm(a)
    assert distance(a, a + noise) == pytest.approx(exact, rel=0.35, abs=1e-6)


@pytest.mark.parametrize("at", [0, 65521, 127 * 500, 199_999])
def test_one_element_is_enough(at: int) -> None:
    a = draw(200_000)
    b = a.copy()
    b[at] += 1.0
    assert distance(a, b) == pytest.approx(1 / np.linalg.norm(a), rel=1e-3)


def test_axes_of_size_1_make_no_difference() -> None:
    a = draw(2, 3, 4)
    assert distance(a, a.reshape(1, 2, 3, 1, 4)) < 1e-6
    assert distance(a, a.transpose(1, 0, 2)) > 0.1


def test_another_number_of_elements_is_no_distance() -> None:
    assert distance(draw(4), draw(5)) == np.inf


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -3.4e38])
def test_a_special_value_on_one_side_is_infinitely_far(value: float) -> None:
    a = draw(50)
    b = a.copy()
    b[7] = value
    assert distance(a, b) == np.inf
    assert distance(b, b) == 0.0


def test_a_permutation_is_a_rearrangement_and_other_numbers_are_not() -> None:
    a = draw(4, 5)
    assert is_rearranged(sign(a), sign(a.T))
    assert not is_rearranged(sign(a), sign(draw(4, 5, seed=3)))
    assert not is_rearranged(sign(a), sign(a * 1.01))


def test_integers_in_a_float_blob_are_read_as_integers() -> None:
    numbers = np.array([0, 3, 70000], np.int32)
    assert read_numbers(numbers.view(np.float32)).tolist() == [0, 3, 70000]
    assert read_numbers(np.array([0.0, 1.5], np.float32)).tolist() == [0, 1.5]


def test_a_batch_axis_of_unknown_place_is_tried_everywhere() -> None:
    tensor = draw(3, 2, 4)
    blob = np.moveaxis(tensor, 1, 0)
    left = [NetworkValue(Record("", sign(tensor), {}), "", ())]
    right = [NetworkValue(Record("", sign(blob, (0, 1, 2)), {}), "", ())]
    assert find_errors(left, right)[0, 0] < 1e-6


def test_what_was_written_before_a_death_is_read(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.see("a", draw(3), kind="relu", inputs=[])
    recorder.see("b", draw(4), (0, 0), kind="relu", inputs=["a"])
    with open(tmp_path / "records.jsonl", "a") as file:
        file.write('{"key": "c", "sha')
    first, second = read_records(tmp_path)
    assert (first.key, first.facts, second.signature.shape) == ("a", {"kind": "relu", "inputs": []}, (4,))
    assert second.signature.sketches.shape == (2, 127)


def test_readers_of_a_network() -> None:
    record = Record("", sign(draw(2)), {})
    network = Network([NetworkValue(record, "input", ()), NetworkValue(record, "relu", (0,))], [])
    assert network.readers == [[1], []]
    assert network.ancestors([1]) == {0, 1}
