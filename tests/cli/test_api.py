"""`pnnxfix.check` and `pnnxfix.fix`, for those who call the tool from Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import pnnxfix

if TYPE_CHECKING:
    from conftest import Place


def test_public_names() -> None:
    assert pnnxfix.__all__ == sorted(pnnxfix.__all__, key=lambda name: (name[0].islower(), name))
    for name in pnnxfix.__all__:
        assert getattr(pnnxfix, name) is not None
        assert name in dir(pnnxfix)
    with pytest.raises(AttributeError, match="no attribute 'repair'"):
        pnnxfix.repair  # noqa: B018


def test_check_and_fix(place: Place) -> None:
    folder = place.put("clamp-min-tenth", "leak")
    clean = place.put("normalize", "clean")
    before = place.snapshot()
    report = pnnxfix.check([folder, str(clean)])
    assert isinstance(report, pnnxfix.Report)
    assert {finding.code for finding in report.findings} == {"PNX101", "PNX201"}
    assert all(isinstance(finding, pnnxfix.Finding) for finding in report.findings)
    assert pnnxfix.fix(folder, dry_run=True).fixed == report.findings
    assert place.snapshot() == before
    assert pnnxfix.fix(str(folder)).exit_code == 0
    assert pnnxfix.check(folder).findings == []


def test_keywords_reach_the_run(place: Place) -> None:
    folder = place.put("clamp-min-tenth", "leak")
    assert {finding.code for finding in pnnxfix.check(folder, select=["PNX2"]).findings} == {"PNX201"}
    assert pnnxfix.check(".", exclude=["leak"]).exit_code == 2
    report = pnnxfix.fix(folder, style="clamp", dry_run=True, values={"1": 0.1}, load_check=False)
    changed = b"".join(change.after for change in report.conversions[0].changes)
    assert b"torch.clamp(v_0, min=0.1)" in changed


def test_a_string_for_several_strings_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"select takes several strings, not one: \['PNX1'\]"):
        pnnxfix.check(".", select="PNX1")
