"""Lowers the leaked operators of one conversion that families of rules know, region by region.

Imported only when there is such an operator: the engine behind it is the larger part of pnnxfix.
"""

from __future__ import annotations

from collections.abc import Sequence

from pnnxfix.pipeline.call import LeakCall
from pnnxfix.pipeline.contradictions import Contradiction
from pnnxfix.pipeline.graph_edits import RegionLowering, place_of_table
from pnnxfix.pipeline.leaks import Leak
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.pipeline.lowering import RegionLowerer
from pnnxfix.pipeline.own_bytes import find_position
from pnnxfix.pipeline.regions import Part, Regions
from pnnxfix.rules.base import OperatorRule, Refusal
from pnnxfix.rules.lowering.builder import Builder, NotExpressible
from pnnxfix.rules.lowering.family import Family
from pnnxfix.rules.registry import operator_rules


class RegionPlanner:
    """Finds what must be lowered with an operator, and lowers it."""

    def __init__(self, loaded: LoadedConversion) -> None:
        self._loaded = loaded
        self._regions = Regions(loaded, operator_rules())
        self.lowered: set[int] = set()

    def find_lie(self, leaks: Sequence[Leak], wrong: Sequence[Contradiction]) -> Refusal | None:
        """Why no repair may make the ncnn graph load: a layer that loads and computes something else.

        None if all such layers go with the operators in hand, the leaked ones and the `wrong` ones.
        """
        assert self._loaded.pnnx is not None
        covered: set[str] = set()
        refused: list[Refusal] = []
        grown: list[list[Part]] = []
        rules = operator_rules()
        anchors = [(leak.pnnx, leak.ncnn, leak.rule) for leak in leaks]
        anchors += [
            (one.operator, one.handle, rules.get(self._loaded.pnnx.graph[one.operator].type))
            for one in wrong
            if one.operator >= 0 and one.lowering is None
        ]
        for operator, handle, rule in anchors:
            if isinstance(rule, Family) and operator is not None and handle is not None:
                parts = self._regions.grow(self._loaded.pnnx.graph[operator], handle, rule)
                if isinstance(parts, Refusal):
                    refused.append(parts)
                else:
                    grown.append(parts)
                    covered.update(part.operator.name for part in parts)
        lie = self._regions.find_lie(covered)
        if lie is None:
            return None
        # What stops a region is nearer to the cause than a layer beyond it.
        for parts in grown if not refused else ():
            lowered = RegionLowerer(self._loaded, self._regions, _settle_nothing).lower(parts)
            if isinstance(lowered, Refusal):
                refused.append(lowered)
                break
        if refused:
            return refused[0]
        return lie

    def _position(self, row: int) -> int | None:
        assert self._loaded.ncnn is not None
        assert self._loaded.pnnx is not None
        return find_position(self._loaded.ncnn.graph, self._loaded.pnnx.graph, row)

    def lower(self, leak: Leak, rule: OperatorRule, call: LeakCall) -> RegionLowering | Refusal:
        """The layers of a leak and of all that goes with it; `lowered` then holds their rows."""
        assert isinstance(rule, Family)
        if not rule.is_expressible:
            return _refuse(rule)
        region = self._lower_region(leak, rule, call, takes_members=False)
        if isinstance(region, Refusal):
            other = self._lower_region(leak, rule, call, takes_members=True)
            if isinstance(other, Refusal):
                return region
            region = other
        if (region.constants or region.weights) and self._loaded.bin_path is None:
            return Refusal(
                "its constants need a place in .ncnn.bin, which is not beside the graph",
                "put the model's .ncnn.bin beside its .ncnn.param",
            )
        assert self._loaded.ncnn is not None
        rows = [place_of_table(self._loaded.ncnn.graph, region, at) for at in region.weights]
        if any(self._position(row) is None for row in rows):
            return Refusal(
                "its table needs a place in the middle of .ncnn.bin, and where that is is not certain",
                "compute what reads integers before the rest of the network",
            )
        self.lowered.update(region.handles)
        return region

    def _lower_region(
        self, leak: Leak, rule: Family, call: LeakCall, takes_members: bool
    ) -> RegionLowering | Refusal:
        assert self._loaded.pnnx is not None
        assert leak.pnnx is not None
        assert leak.ncnn is not None
        self._regions.takes_members = takes_members
        try:
            parts = self._regions.grow(self._loaded.pnnx.graph[leak.pnnx], leak.ncnn, rule)
            if isinstance(parts, Refusal):
                return parts
            return RegionLowerer(self._loaded, self._regions, call.scalar).lower(parts)
        finally:
            self._regions.takes_members = False


def _refuse(rule: Family) -> Refusal:
    """The reason that a rule has for all its operators."""
    try:
        rule.lower(Builder())
    except NotExpressible as error:
        return Refusal(error.reason, error.help)
    raise AssertionError(f"{rule.code} lowers an operator that it calls inexpressible")


def _settle_nothing(name: str) -> Refusal:
    return Refusal(f"the value of `{name}` is not settled", "see the other findings")
