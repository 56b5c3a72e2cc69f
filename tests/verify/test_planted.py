"""Faults planted in real conversions: `--bisect` names the operator that was altered."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.verify.planted import Bench, networks, read_faults

BAR = 0.95


def test_the_faults_are_of_every_kind_and_network() -> None:
    faults = read_faults()
    assert len(faults) >= 40
    assert {fault.kind for fault in faults} == {"parameter", "axis", "weight", "batch"}
    assert {fault.network for fault in faults} == set(networks())


def test_the_altered_operator_is_named(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the reference runs in PyTorch")
    bench = Bench(tmp_path)
    wrong, unseen = [], []
    try:
        for fault in read_faults():
            state, found = bench.judge(fault)
            if state != "disagrees":
                unseen.append((fault.id, state, bench.reason))
            if found is None or found.operator != fault.operator:
                wrong.append((fault.id, found.operator if found else bench.reason))
    finally:
        bench.close()
    assert unseen == []
    assert 1 - len(wrong) / len(read_faults()) >= BAR, wrong
