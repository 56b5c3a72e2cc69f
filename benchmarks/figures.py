"""A figure beside its floor, the verdict over its bar, and how both are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from measure import Timing


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, and what it is held against.

    The ratio is of the fastest runs. `bar` is the largest ratio that passes, None where there is no bar.
    It is held against time on the wall and of the processor: other load may favour either side of one.
    """

    section: str
    what: str
    timing: Timing
    floor_name: str
    floor: Timing
    bar: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.timing.best / self.floor.best

    @property
    def cpu_ratio(self) -> float:
        """The same of processor time; 0 where a program timed a part of itself."""
        mine, floor = min(self.timing.cpu), min(self.floor.cpu)
        return mine / floor if floor else 0.0

    @property
    def verdict(self) -> str:
        if self.bar is None:
            return "no bar"
        return "PASS" if max(self.ratio, self.cpu_ratio) <= self.bar else "MISS"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "verdict": self.verdict}


def read_figure(data: dict[str, Any]) -> Figure:
    """The figure that `to_json` wrote; ratio and verdict are computed again."""
    kept = {key: value for key, value in data.items() if key not in ("ratio", "verdict")}
    return Figure(**{**kept, "timing": _read_timing(data["timing"]), "floor": _read_timing(data["floor"])})


def render_page(result: dict[str, Any]) -> str:
    """The Markdown page of one run."""
    figures = [read_figure(data) for data in result["figures"]]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        "# Time and memory",
        "",
        "Written by `make bench` from [the numbers of one run](../benchmarks/results.json), never by hand.",
        "",
        f"{result['machine']}. {versions}.",
        "",
        "Whole processes, the start of Python included, unless a note says otherwise: fastest run / median.",
        "A figure and its floor run in turn, so that other load on the machine meets both. The file cache is",
        "warm and the bytecode compiled. The ratio is of the fastest runs; CPU is the processor time of the",
        "run that used least, which other load disturbs less. A bar is passed if both ratios are within it.",
        *render_sections(figures),
    ]
    return "\n".join(lines) + "\n"


def render_sections(figures: Sequence[Figure]) -> list[str]:
    """A heading, a table and its notes for each section, line by line."""
    lines: list[str] = []
    for section in dict.fromkeys(figure.section for figure in figures):
        lines += [
            "",
            f"## {section}",
            "",
            "| | pnnxfix | CPU | peak memory | floor | | CPU | ratio | of CPU | bar | |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        of_section = [figure for figure in figures if figure.section == section]
        lines += [_render_row(figure) for figure in of_section]
        notes = list(dict.fromkeys(figure.note for figure in of_section if figure.note))
        if notes:
            lines += ["", *(f"- {note}" for note in notes)]
    return lines


def render_text(figures: Iterable[Figure]) -> str:
    """The same for a terminal: one line a figure."""
    return "".join(
        f"  {figure.what}: {_both(figure.timing)}, {_size(figure.timing.peak)}\n"
        f"      floor: {figure.floor_name}: {_both(figure.floor)}\n"
        f"      ratio {_number(figure.ratio)} (of processor time {_number(figure.cpu_ratio)}), "
        f"bar {_bar(figure)}: {figure.verdict}\n"
        for figure in figures
    )


def _render_row(figure: Figure) -> str:
    cells = (
        figure.what,
        _both(figure.timing),
        _seconds(min(figure.timing.cpu)),
        _size(figure.timing.peak),
        figure.floor_name,
        _both(figure.floor),
        _seconds(min(figure.floor.cpu)),
        _number(figure.ratio),
        _number(figure.cpu_ratio) if figure.cpu_ratio else "-",
        _bar(figure),
        figure.verdict,
    )
    return f"| {' | '.join(cells)} |"


def _both(timing: Timing) -> str:
    return f"{_seconds(timing.best)} / {_seconds(timing.median)}"


def _bar(figure: Figure) -> str:
    return "none" if figure.bar is None else f"{figure.bar:.3g}"


def _seconds(value: float) -> str:
    if not value:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _number(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def _size(value: int) -> str:
    return f"{value / 1e6:.0f} MB" if value else "-"


def _read_timing(data: dict[str, Any]) -> Timing:
    return Timing(tuple(data["wall"]), tuple(data["cpu"]), data["peak"])
