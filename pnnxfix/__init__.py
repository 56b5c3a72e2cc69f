"""pnnxfix repairs what pnnx leaves behind when it converts PyTorch models to ncnn.

import pnnxfix

report = pnnxfix.check("models/")
for finding in report.findings:
    print(finding.path, finding.line, finding.code, finding.message)
report = pnnxfix.fix("models/", dry_run=True)
network = pnnxfix.export(model, "model.pt", inputs)  # as pnnx.export, and repaired
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pnnxfix.conversion.api import ConversionFailed, convert, export
    from pnnxfix.options import Options, Style
    from pnnxfix.report import Finding, Report

    PathLike = str | os.PathLike[str]

__version__ = "0.1.0"
__all__ = ["ConversionFailed", "Finding", "Report", "__version__", "check", "convert", "export", "fix"]


def check(
    paths: PathLike | Iterable[PathLike],
    *,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    per_file_ignores: Mapping[str, Iterable[str]] | None = None,
    custom_layers: Iterable[str] = (),
    exclude: Iterable[str] = (),
    values: Mapping[str, str | float] | None = None,
    logs: Iterable[PathLike] = (),
) -> Report:
    """Report what is wrong with the conversions at `paths`; writes nothing.

    `paths` is one path or several: directories, which are searched, or single files of a conversion.
    The keywords are the options of the command line; a `pyproject.toml` is not read.
    What could not be read stands in the report's `all_problems`.
    """
    from pnnxfix.pipeline.run import check_paths

    options = _gather(select, ignore, per_file_ignores, custom_layers, exclude, values, logs)
    return check_paths(_paths(paths), options)


def fix(
    paths: PathLike | Iterable[PathLike],
    *,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    per_file_ignores: Mapping[str, Iterable[str]] | None = None,
    custom_layers: Iterable[str] = (),
    exclude: Iterable[str] = (),
    values: Mapping[str, str | float] | None = None,
    logs: Iterable[PathLike] = (),
    style: Style = "operator",
    fuse: bool = True,
    load_check: bool | None = None,
    cut: bool = False,
    dry_run: bool = False,
) -> Report:
    """Repair the conversions at `paths` in place, each whole or not at all.

    With `cut` a network may end before what ncnn cannot compute; the notes say what is left to do.
    With `dry_run` nothing is written, and the report's `changes` hold what would be.
    See `check` for the other keywords. ncnn runs in a child process only.
    """
    from pnnxfix.pipeline.run import fix_paths

    options = _gather(select, ignore, per_file_ignores, custom_layers, exclude, values, logs)
    options = options._replace(style=style, fuse=fuse, load_check=load_check, cut=cut, dry_run=dry_run)
    return fix_paths(_paths(paths), options)


def _paths(paths: PathLike | Iterable[PathLike]) -> list[Path]:
    import os
    from pathlib import Path

    return [Path(paths)] if isinstance(paths, (str, os.PathLike)) else [Path(path) for path in paths]


def _gather(
    select: Iterable[str],
    ignore: Iterable[str],
    per_file_ignores: Mapping[str, Iterable[str]] | None,
    custom_layers: Iterable[str],
    exclude: Iterable[str],
    values: Mapping[str, str | float] | None,
    logs: Iterable[PathLike],
) -> Options:
    from pnnxfix.options import Options

    return Options(
        select=_strings("select", select),
        ignore=_strings("ignore", ignore),
        per_file_ignores={
            glob: _strings("per_file_ignores", codes) for glob, codes in (per_file_ignores or {}).items()
        },
        custom_layers=frozenset(_strings("custom_layers", custom_layers)),
        exclude=_strings("exclude", exclude),
        values={blob: str(value) for blob, value in (values or {}).items()},
        logs=tuple(_paths(logs)),
    )


def _strings(name: str, values: Iterable[str]) -> tuple[str, ...]:
    # tuple("PNX1") would select the codes P, N, X and 1, that is, everything.
    if isinstance(values, str):
        raise TypeError(f"{name} takes several strings, not one: [{values!r}]")
    return tuple(values)


def __getattr__(name: str) -> object:
    if name in ("Finding", "Report"):
        from pnnxfix import report

        return getattr(report, name)
    if name in ("ConversionFailed", "convert", "export"):
        from pnnxfix.conversion import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
