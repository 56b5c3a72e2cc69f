"""Explains a log of pnnx beside the conversion that it is about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pnnxfix.conversion.log import MAX_GROUPS, MAX_UNKNOWN, Group, Log, read_log
from pnnxfix.errors import ParseError
from pnnxfix.options import Options
from pnnxfix.pipeline.contradictions import MENDED
from pnnxfix.pipeline.discovery import NCNN_PARAM, PNNX_PARAM, Conversion, find_conversions
from pnnxfix.pipeline.loaded import LoadedConversion, ParamGraph
from pnnxfix.pipeline.run import check_paths
from pnnxfix.report import ConversionReport, Finding, Problem, Report
from pnnxfix.rules.console import (
    BatchAxisGuess,
    ConsoleRule,
    CutInteger,
    DiedInOperator,
    DiedInside,
    DroppedParameter,
    InputMismatch,
    OtherModel,
    UnknownLine,
    UnreadableModel,
    UnwrittenFile,
    Verdict,
)

_OPEN_ENDS = (str((1 << 63) - 1), str(-(1 << 63)))
_MOST_PLACES = 3
# pnnx says these of other operators, too: of nn.Upsample, of torch.transpose, of Tensor.unflatten.
_KINDS_OF_SEVERAL = frozenset({"interpolate", "upsample", "permute", "reshape", "flatten", "select"})
# Why a run ended early is told by these already.
_ENDS = (InputMismatch, UnreadableModel, DiedInOperator)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one line of a log, or `count` lines of one meaning, say about a conversion.

    `line` is the first of them. `operator` is the name of the operator meant, "" where that is not
    certain; `places` are the rows and statements that it may be, `file:line`.
    """

    path: Path
    line: int
    count: int
    rule: type[ConsoleRule]
    verdict: Verdict
    message: str
    help: str
    operator: str = ""
    places: tuple[str, ...] = ()

    @property
    def is_finding(self) -> bool:
        return self.verdict in ("suspect", "fatal")


def check_explained(paths: Sequence[Path], options: Options) -> tuple[Report, list[Explanation]]:
    """What `check` reports, and what each line that matters of the logs means.

    Lines that are `suspect` or `fatal` and that no finding tells already are findings of the report.
    """
    report = check_paths(paths, options)
    conversions, _, _ = find_conversions(paths, options.exclude)
    if not conversions and options.logs:
        # A run that died may have left nothing but its log.
        conversions = [Conversion(options.logs[0].parent / "model")]
        report.conversions.append(ConversionReport(conversions[0].stem))
    explanations: list[Explanation] = []
    for path in options.logs:
        try:
            log = read_log(path)
        except ParseError as error:
            report.problems.append(Problem(path, error.reason))
            continue
        if not log.names_files and not log.is_usage:
            report.problems.append(Problem(path, "not a log of pnnx: it names no files", OtherModel.cure))
            continue
        explanations += _explain_beside(log, conversions, report)
    return report, explanations


def _explain_beside(log: Log, conversions: list[Conversion], report: Report) -> list[Explanation]:
    found: list[Explanation] = []
    reason = f"it is of {Path(log.paths.get('ncnnparam', '?')).name}, and that is not here"
    for conversion in conversions:
        if conversion.files and not _names_any_of(log, conversion):
            continue
        loaded = LoadedConversion(conversion)
        reason = _find_other_inputs(log, loaded)
        if reason:
            continue
        at = next(one for one in report.conversions if one.stem == conversion.stem)
        explained = list(explain(log, loaded, at.findings))
        add_findings(at, explained)
        found += explained
    if not found and reason and report.conversions:
        message = f"this log is of another conversion: {reason}"
        other = Explanation(log.path, max(log.first, 1), 1, OtherModel, "fatal", message, OtherModel.cure)
        report.conversions[0].findings.append(_to_finding(other))
        found.append(other)
    return found


def _names_any_of(log: Log, conversion: Conversion) -> bool:
    named = {Path(path).name for path in log.paths.values()}
    # The files of a run that died may all be missing; its stem is known all the same.
    stems = {name.removesuffix(".pnnx.param") for name in named}
    return any(path.name in named for path in conversion.files.values()) or conversion.stem.name in stems


def _find_other_inputs(log: Log, loaded: LoadedConversion) -> str:
    """How the inputs of the log and of the graph differ, "" where they do not or it is not known.

    Many models are called `model`: names alone do not tell one log from another.
    """
    if loaded.pnnx is None or not log.inputshape:
        return ""
    file = loaded.pnnx.file
    inputs = (row for _, row in file.rows() if row[0] == "pnnx.Input")
    shapes = ",".join(word.partition("=")[2] for row in inputs for word in row if word.startswith("#"))
    theirs = shapes.replace("(", "[").replace(")", "]")
    if not theirs or "?" in theirs or theirs == log.inputshape:
        return ""
    return f"its inputs are {log.inputshape}, and {Path(file.path).name} has {theirs}"


def add_findings(report: ConversionReport, explanations: Sequence[Explanation]) -> None:
    """Put what no finding of the report tells already among its findings."""
    known = {finding.operator for finding in report.findings if finding.operator}
    for one in explanations:
        if one.is_finding and one.operator not in known:
            report.findings.append(_to_finding(one))


def _to_finding(one: Explanation) -> Finding:
    times = f" ({one.count:,} lines)" if one.count > 1 else ""
    where = f"; see {', '.join(one.places)}" if one.places else ""
    return Finding(
        one.path, one.line, 1, one.rule.code, one.rule.name, one.message + times + where, one.help,
        one.operator, "nothing in the files says what was meant",
    )  # fmt: skip


def explain(log: Log, loaded: LoadedConversion, findings: Sequence[Finding]) -> Iterator[Explanation]:
    """What the lines of `log` mean for its conversion, in their order. `findings` are those of `check`."""
    ties = _Ties(loaded, findings)
    for group in log.groups:
        yield _explain_group(log, group, ties)
    if log.uncounted:
        message = f"lines of more than {MAX_UNKNOWN} unknown or {MAX_GROUPS:,} known kinds are not explained"
        yield Explanation(log.path, log.lines, log.uncounted, UnknownLine, "unknown", message, "")
    reached_ncnn = log.stage == "pass_ncnn"
    is_whole = log.ended or (reached_ncnn and ties.has_ncnn)
    if not is_whole and not log.is_usage and not log.has(*_ENDS, DiedInside):
        where = f"in {log.stage}" if log.stage else "before its first pass"
        message = f"the log ends {where}: the run died there, and the files are not, or not all, of it"
        yield Explanation(log.path, max(log.lines, 1), 1, DiedInside, "fatal", message, DiedInside.cure)


def _explain_group(log: Log, group: Group, ties: _Ties) -> Explanation:
    rule, verdict, help_text = group.rule, group.rule.verdict, group.rule.cure
    message = f"`{group.text}`: {rule.meaning}"
    operator = ""
    places: tuple[str, ...] = ()
    if rule is DroppedParameter:
        verdict, help_text, became = ties.judge_dropped(group.match)
        operator = group.match["name"]
        places = ties.find_operator(group.match["type"], operator)
        message = f"`{group.text}`: {became}"
    elif rule is BatchAxisGuess:
        names = ", ".join(group.subjects) + (", ..." if group.count > len(group.subjects) else "")
        message = f"no batch axis was found for operand {names}: {rule.meaning}"
        places = ties.find_operand(group.subjects[0])
    elif rule is DiedInOperator:
        message = f"{group.text.strip()}: pnnx died of " + (log.culprit or "it")
        operator = log.culprit
        if log.code:
            message += f" in `{log.code}`"
        places = (log.source,) if log.source else ()
    elif rule is CutInteger and group.match["value"] in _OPEN_ENDS:
        verdict, message = "harmless", f"`{group.text}`: it is the open end of a slice"
        help_text = ""
    elif rule is UnwrittenFile:
        operator = group.match.get("path", "")
    elif group.match.get("kind"):
        operator, places, judged = ties.find_kind(group.match["kind"])
        if judged is not None:
            verdict = judged
            message, help_text = f"`{group.text}`: {_MENDED[verdict]}", ""
    return Explanation(log.path, group.line, group.count, rule, verdict, message, help_text, operator, places)


_MENDED: dict[Verdict, str] = {
    "harmless": "the layer is repaired",
    "repaired": "`pnnxfix fix` writes other layers for it",
}


class _Ties:
    """Finds operators of the log in the files."""

    def __init__(self, loaded: LoadedConversion, findings: Sequence[Finding]) -> None:
        self._loaded = loaded
        self._fixable = {finding.operator for finding in findings if finding.fixable and finding.operator}
        self._rows = {role: _index(graph) for role, graph in self._graphs()}

    def _graphs(self) -> Iterator[tuple[str, ParamGraph]]:
        if self._loaded.ncnn is not None:
            yield NCNN_PARAM, self._loaded.ncnn
        if self._loaded.pnnx is not None:
            yield PNNX_PARAM, self._loaded.pnnx

    @property
    def has_ncnn(self) -> bool:
        return self._loaded.ncnn is not None

    def judge_dropped(self, match: dict[str, str]) -> tuple[Verdict, str, str]:
        """The verdict, what to do, and what became of the operator."""
        if NCNN_PARAM not in self._rows:
            return "suspect", "", "the ncnn graph is not here to say whether the operator is still in it"
        if (match["type"], match["name"]) not in self._rows[NCNN_PARAM]:
            return "harmless", "", "the operator is repaired: nothing needs this parameter any more"
        if match["name"] in self._fixable:
            taken = "`pnnxfix fix` takes it from here or from the other files"
            return "repaired", "`pnnxfix fix`", f"ncnn's file lost this parameter; {taken}"
        # Operators of pnnx are called `aten::mode` or `Tensor.slice`, layers of ncnn `Concat`.
        if re.search(r"[.:]", match["type"]) is None:
            return "suspect", DroppedParameter.cure, "the layer was written without this parameter"
        return "fatal", DroppedParameter.cure, DroppedParameter.meaning

    def find_operator(self, kind: str, name: str) -> tuple[str, ...]:
        places = []
        for role, rows in self._rows.items():
            at = rows.get((kind, name))
            if at is not None:
                places.append(self._place(role, at))
                places += self._find_statement(at) if role == PNNX_PARAM else []
        return tuple(places)

    def find_operand(self, operand: str) -> tuple[str, ...]:
        graph = self._loaded.pnnx
        if graph is None:
            return ()
        for (_, name), at in self._rows[PNNX_PARAM].items():
            if operand in graph.graph[at].outputs or name == operand.partition("_")[0]:
                return (self._place(PNNX_PARAM, at),)
        return ()

    def find_kind(self, kind: str) -> tuple[str, tuple[str, ...], Verdict | None]:
        """The operator that pnnx calls so, where, and what became of it, None where that is not certain.

        It has no name if there are several. pnnx numbers the layers that it makes by kind, `norm_0`; of
        one that was repaired the last new layer is `norm_0_fix`, of a leak it has the operator's name.
        """
        plain = kind.replace("_", "").lower()
        numbered = re.compile(rf"{re.escape(kind)}_\d+({MENDED})?")
        named = {name: (type_, at) for (type_, name), at in self._rows.get(NCNN_PARAM, {}).items()}
        layers = [(name, at) for name, (_, at) in named.items() if numbered.fullmatch(name)]
        operators = [
            (name, at, type_)
            for (type_, name), at in self._rows.get(PNNX_PARAM, {}).items()
            if type_.rpartition(".")[2].replace("_", "").lower() == plain or self._computes(at, kind)
        ]
        places = [self._place(NCNN_PARAM, at) for _, at in layers[:_MOST_PLACES]]
        for _, at, _ in operators[:_MOST_PLACES]:
            places += [self._place(PNNX_PARAM, at), *self._find_statement(at)]
        leaks = {name: named[name][0] == type_ for name, _, type_ in operators if name in named}
        standing = {name for name, _ in layers if not name.endswith(MENDED)}
        standing |= {name for name, stays in leaks.items() if stays}
        verdict: Verdict | None = None
        if kind not in _KINDS_OF_SEVERAL and (standing or layers or leaks):
            verdict = "harmless" if not standing else "repaired" if standing <= self._fixable else None
        names = [name for name, _ in layers] if len(layers) == 1 else [name for name, _, _ in operators]
        return (names[0] if len(names) == 1 else ""), tuple(places), verdict

    def _computes(self, row: int, function: str) -> bool:
        """Whether a row of `.pnnx.param` is an expression with this function, `add(sign(@0),@1)`."""
        assert self._loaded.pnnx is not None
        expression = self._loaded.pnnx.graph[row].parameter("expr") or ""
        return re.search(rf"\b{re.escape(function)}\(", expression) is not None

    def _find_statement(self, row: int) -> list[str]:
        python, graph = self._loaded.python, self._loaded.pnnx
        if python is None or graph is None or not graph.graph[row].outputs:
            return []
        start = re.compile(rf"\s*v_{re.escape(graph.graph[row].outputs[0])}\b[^=]*= ")
        lines = (at for at, line in enumerate(python.lines, 1) if start.match(line))
        return [f"{Path(python.path).name}:{at}" for at in lines][:1]

    def _place(self, role: str, row: int) -> str:
        return f"{self._loaded.files[role].name}:{row + 1}"


def _index(graph: ParamGraph) -> dict[tuple[str, str], int]:
    return {(row[0], row[1]): at for at, row in graph.file.rows()}
