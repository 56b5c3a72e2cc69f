"""Lowers the leaked operators of one conversion that families of rules know, region by region.

Imported only when there is such an operator: the engine behind it is the larger part of pnnxfix.
"""

from __future__ import annotations

from pnnxfix.pipeline.call import LeakCall
from pnnxfix.pipeline.graph_edits import RegionLowering
from pnnxfix.pipeline.leaks import Leak
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.pipeline.lowering import RegionLowerer
from pnnxfix.pipeline.regions import Regions
from pnnxfix.rules.base import OperatorRule, Refusal
from pnnxfix.rules.lowering.family import Family
from pnnxfix.rules.registry import operator_rules


class RegionPlanner:
    """Finds what must be lowered with an operator, and lowers it."""

    def __init__(self, loaded: LoadedConversion) -> None:
        self._loaded = loaded
        self._regions = Regions(loaded, operator_rules())
        self.lowered: set[int] = set()

    def lower(self, leak: Leak, rule: OperatorRule, call: LeakCall) -> RegionLowering | Refusal:
        """The layers of a leak and of all that goes with it; `lowered` then holds their rows."""
        assert self._loaded.pnnx is not None
        assert leak.pnnx is not None
        assert leak.ncnn is not None
        assert isinstance(rule, Family)
        parts = self._regions.grow(self._loaded.pnnx.graph[leak.pnnx], leak.ncnn, rule)
        if isinstance(parts, Refusal):
            return parts
        region = RegionLowerer(self._loaded, self._regions, call.scalar).lower(parts)
        if isinstance(region, RegionLowering):
            self.lowered.update(region.handles)
        return region
