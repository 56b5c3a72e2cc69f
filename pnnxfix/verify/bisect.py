"""Where a form that disagrees goes wrong: traces both sides, pairs them, names the place in all files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from pnnxfix.codecs.ncnn_script import NO_BATCH
from pnnxfix.graph.graph import Operator
from pnnxfix.pipeline.discovery import NCNN_PY
from pnnxfix.verify.causes import find_causes, find_main, find_output_causes
from pnnxfix.verify.compare import measure
from pnnxfix.verify.distance import find_errors
from pnnxfix.verify.form import Form, NcnnForm, TorchForm
from pnnxfix.verify.network import Network, from_ncnn, from_torch
from pnnxfix.verify.outcome import Divergence, FormReport, Measure, Place, Step, Verdict
from pnnxfix.verify.places import draw_places, find_places, find_script_line
from pnnxfix.verify.process import DIED, ChildFailed
from pnnxfix.verify.search import Culprit, Search
from pnnxfix.verify.subject import Subject

TOLERANCE = 1e-4
"""Relative L2 error up to which two values agree when both sides have the same weights."""

ROUNDED_TOLERANCE = 5e-3
"""The same where one side has them as half floats or bytes and the other has not."""

Pick = Callable[[FormReport], list[str]]


def bisect(
    subject: Subject,
    forms: Sequence[tuple[Form, FormReport]],
    reference: Form | None,
    pick: Pick,
    verdict: Verdict,
) -> None:
    """Give each form that disagrees its divergence, or the reason why there is none."""
    python = next(((form, report) for form, report in forms if form.name == "python"), None)
    for form, report in forms:
        # A model that kills ncnn is compared up to there.
        has_died = form.name == "ncnn" and report.state == "not compared" and DIED in report.reason
        if not has_died and report.state != "disagrees":
            continue
        paths = pick(report)
        believed = reference
        if (
            form.name == "ncnn"
            and python is not None
            and python[1].state != "disagrees"
            and python[1].measures
        ):
            # It has ncnn's steps one to one, and the weights can be rounded as ncnn's are.
            believed = python[0]
        if not isinstance(believed, TorchForm):
            report.no_divergence = "stored outputs tell nothing of the way to them"
            continue
        _Bisection(subject, believed, reference, form, report, paths).run()
        if report.divergence is not None:
            verdict.drawings.append(draw_places(subject, report.divergence))


class _Bisection:
    """One form that disagrees, on one input."""

    def __init__(
        self,
        subject: Subject,
        believed: TorchForm,
        original: Form | None,
        form: Form,
        report: FormReport,
        paths: list[str],
    ) -> None:
        self.subject, self.believed, self.form = subject, believed, form
        self.original = original if isinstance(original, TorchForm) and original is not believed else None
        self.report, self.paths = report, paths
        same_weights = subject.weights == "fp32" or form.name != "ncnn"
        self.death = ""
        self.rounds = form.name == "ncnn" and believed.name == "python"
        self.tolerance = (
            TOLERANCE if same_weights or (self.rounds and subject.rounding) else ROUNDED_TOLERANCE
        )

    def run(self) -> None:
        if not self.report.measures:
            self.form.restart()
        failing = [one for one in self.report.measures if not one.passed]
        if failing and self.form.name == "ncnn" and all(one.batch_axis_only for one in failing):
            self.report.divergence = self._explain_output(failing[0])
            return
        try:
            left = from_torch(self.believed.trace(self.paths, [], self.rounds))
        except ChildFailed as error:
            self.report.no_divergence = f"{self.believed.name} cannot be run step by step: {error.reason}"
            return
        try:
            right = self._trace_form()
        except ChildFailed as error:
            self.report.no_divergence = f"{self.form.name} cannot be run step by step: {error.reason}"
            return
        search = Search(left, right, self.tolerance)
        names = {one.output for one in failing}
        culprit = search.find(self._ends(right, names))
        if culprit is None:
            gradual = "no single operator: the error grows bit by bit, as with weights of low precision"
            self.report.no_divergence = self.death or gradual
            return
        if self.form.name == "ncnn" and not self.death:
            axis = self._find_input_axis(search, culprit, names)
            if axis is not None:
                self.report.divergence = replace(axis, steps=_steps(search, culprit))
                return
        if culprit.finding == "inserted" and self._is_known(right, culprit):
            at = culprit.beside
            assert at is not None
            partner = search.pairs[at]
            culprit = Culprit(at, partner, culprit.error_in, float(search.errors[partner, at]))
        self.report.divergence = self._describe(search, culprit)

    def _is_known(self, right: Network, culprit: Culprit) -> bool:
        """Whether the original has a value that the generated Python has merged into another."""
        if self.original is None:
            return False
        try:
            left = from_torch(self.original.trace(self.paths, []))
        except ChildFailed:
            return False
        errors = find_errors(left.values, [right.values[culprit.right]])
        return bool((errors < ROUNDED_TOLERANCE).any())

    def _explain_death(self, error: ChildFailed) -> str:
        assert isinstance(self.form, NcnnForm)
        graph = self.subject.ncnn.graph if self.subject.ncnn is not None else None
        handle = None if graph is None else graph.producer(self.form.died_at)
        if graph is None or handle is None:
            return error.reason
        layer, path = graph.original(handle), self.report.path
        return f"{error.reason} at or before layer {layer.name} ({layer.type}), {path.name}:{handle + 1}"

    def _trace_form(self) -> Network:
        if isinstance(self.form, NcnnForm):
            assert self.subject.ncnn is not None
            try:
                records = self.form.trace(self.paths, [])
            except ChildFailed as error:
                records = self.form.recorded()
                if not records or not self.form.died_at:
                    raise
                self.death = self._explain_death(error)
            return from_ncnn(records, self.subject.ncnn)
        assert isinstance(self.form, TorchForm)
        return from_torch(self.form.trace(self.paths, [], False))

    def _ends(self, right: Network, names: set[str]) -> list[int]:
        """The wrong outputs among the traced values; none where they are not known by name."""
        if self.subject.ncnn is None or not right.layers:
            return []
        index = {value.record.key: at for at, value in enumerate(right.values)}
        graph = self.subject.ncnn.graph
        ends = []
        for name in names:
            seen = 0
            while name not in index and (above := graph.producer(name)) is not None and seen < 1000:
                seen += 1
                name = graph.original(above).inputs[0]
            if name in index:
                ends.append(index[name])
        return ends

    # what is told

    def _describe(self, search: Search, culprit: Culprit) -> Divergence:
        right = search.right
        operator = right.values[culprit.right]
        layer = right.layers[culprit.right] if right.layers else None
        name = (
            layer.name if layer is not None else str(operator.record.facts.get("target", operator.record.key))
        )
        evidence = self._fetch(search, culprit)
        return Divergence(
            self.form.name,
            name,
            operator.kind,
            self._places(search, culprit, layer),
            culprit.error_in,
            culprit.error_out,
            (*find_causes(self.subject, search, culprit, layer, self.report), *filter(None, [self.death])),
            _steps(search, culprit),
            evidence,
        )

    def _places(self, search: Search, culprit: Culprit, layer: Operator | None) -> tuple[Place, ...]:
        """Those of the operator and its layer, before them that of what the operator is fused with."""
        record = search.right.values[culprit.right].record
        if culprit.left is None:
            return find_places(self.subject, record, layer, None)
        own = find_places(self.subject, record, layer, search.left.values[culprit.left].record)
        main = find_main(search, culprit, layer)
        if main is None or main == culprit.left:
            return own
        fused = find_places(self.subject, None, None, search.left.values[main].record)
        return tuple(
            sorted((*fused, *own), key=lambda place: [p.path for p in (*own, *fused)].index(place.path))
        )

    def _fetch(self, search: Search, culprit: Culprit) -> Measure | None:
        """Both values whole, from a second run of each side. A signature tells how far, not where."""
        if culprit.left is None or culprit.finding != "value":
            return None
        keys = search.left.values[culprit.left].record.key, search.right.values[culprit.right].record.key
        try:
            self.believed.trace(self.paths, [keys[0]], self.rounds)
            if isinstance(self.form, TorchForm):
                self.form.trace(self.paths, [keys[1]], False)
            else:
                self.form.trace(self.paths, [keys[1]])
        except ChildFailed:
            return None
        a, b = self.believed.fetched(keys[0]), self.form.fetched(keys[1])
        if a is None or b is None:
            return None
        same = a.size == b.size
        return measure(a, b.reshape(a.shape) if same else b, name := keys[1], name, self.tolerance)

    # batch axes, which only the script knows

    def _explain_output(self, one: Measure) -> Divergence:
        line = find_script_line(self.subject, one.output, is_input=False)
        layer = None
        if (
            self.subject.ncnn is not None
            and (handle := self.subject.ncnn.graph.producer(one.output)) is not None
        ):
            layer = self.subject.ncnn.graph.original(handle)
        places = ((line,) if line else ()) + find_places(self.subject, None, layer, None)
        return Divergence(
            "ncnn", one.output, "batch axis", places, 0.0, math.inf, find_output_causes(one), measure=one
        )

    def _find_input_axis(self, search: Search, culprit: Culprit, names: set[str]) -> Divergence | None:
        """Whether the model agrees once an input is fed with its batch on another axis: it is tried."""
        assert isinstance(self.form, NcnnForm)
        layers = search.right.layers
        sources = {culprit.right, *search.right.values[culprit.right].inputs}
        sources |= {
            above for at in sources if layers[at].type == "Embed" for above in search.right.values[at].inputs
        }
        fed = {layers[at].outputs[0] for at in sources if layers[at].type == "Input"}
        above = search.right.ancestors([culprit.right])
        far = {layers[at].outputs[0] for at in above if layers[at].type == "Input"}
        for at, one in enumerate(self.subject.inputs):
            is_odd = one.batch_axis != 0 if one.shape[:1] == (1,) else one.batch_axis != NO_BATCH
            for axis in (0, 1, NO_BATCH) if one.blob in (far if is_odd else fed) else ():
                if axis == one.batch_axis or not (axis == NO_BATCH or one.shape[axis : axis + 1] == (1,)):
                    continue
                self.subject.inputs[at] = replace(one, batch_axis=axis)
                try:
                    self.form.restart()
                    network = self._trace_form()
                    if self._is_sound(Search(search.left, network, self.tolerance), names):
                        return self._explain_input(one.blob, one.batch_axis, axis, culprit)
                except ChildFailed:
                    continue
                finally:
                    self.subject.inputs[at] = one
        return None

    def _is_sound(self, search: Search, names: set[str]) -> bool:
        errors = [search.error(at) for at in self._ends(search.right, names)]
        return bool(errors) and all(error is not None and error < ROUNDED_TOLERANCE for error in errors)

    def _explain_input(self, blob: str, old: int, new: int, culprit: Culprit) -> Divergence:
        places: tuple[Place, ...] = ()
        line = find_script_line(self.subject, blob, is_input=True)
        if line is not None:
            places = (line,)
        assert self.subject.ncnn is not None
        handle = self.subject.ncnn.graph.producer(blob)
        layer = None if handle is None else self.subject.ncnn.graph.original(handle)
        name = self.subject.files[NCNN_PY].name if NCNN_PY in self.subject.files else "the caller"
        said = "none (233)" if old == NO_BATCH else str(old)
        should = "none (233)" if new == NO_BATCH else str(new)
        cause = f"{name} feeds {blob} with batch axis {said}; with {should} every layer agrees"
        return Divergence(
            "ncnn",
            blob,
            "Input",
            places + find_places(self.subject, None, layer, None),
            0.0,
            culprit.error_out,
            (cause,),
        )


def _steps(search: Search, culprit: Culprit) -> tuple[Step, ...]:
    steps = []
    for at, value in enumerate(search.right.values):
        layer = search.right.layers[at].name if search.right.layers else str(value.record.facts.get("target"))
        partner = search.pairs.get(at)
        name = ""
        if partner is not None:
            other = search.left.values[partner]
            name = f"{other.record.facts.get('target') or other.record.key} {other.kind}"
        steps.append(Step(name, f"{layer} {value.kind}", search.error(at), at == culprit.right))
    return tuple(steps)
