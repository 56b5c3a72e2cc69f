"""Which statements of a generated file may be wrong: cheap searches, made on every file.

Most files hold none of the words below, and then no rule of a statement is even imported. A
pattern matches inside one line; the rule that it belongs to looks closer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_MODULE_CALL = r"= self\.\S+\(v_\d+, v_\d"
# A row whose result has another type than its input; the bounds keep hostile lines cheap.
_RETYPED = rb"""(?mx)^(?:torch\.(?:sum|mean|prod|cumsum|cumprod|norm)|F\.(?:log_)?softmax)[ ].{0,1000}
    [ ]\#\d{1,9}=\([^)\n]{0,99}\)(\w+)[ ]\#\d{1,9}=\([^)\n]{0,99}\)(?!\1\b)"""
# A division that gives integers was no true one.
_INTEGER_DIVISION = rb"(?m)[ ]expr=\S{0,300}\bdiv\(.{1,300}[ ]#\d{1,9}=\([^)\n]{0,99}\)[iu]\d+\r?$"
# A reshape with more or fewer sizes than its result has axes.
_MISCOUNTED = rb"""(?mx)^Tensor\.reshape[ ].{0,300}[ ]shape=\((\d+(?:,\d+){0,9})
    (?:,[-\d,]{1,99}\)[ ].{0,300}[ ]\#\d{1,9}=\(\1\)|\)[ ].{0,300}[ ]\#\d{1,9}=\(\1,[\d,]{1,99}\))\w+\r?$"""
_INPUT = "INPUT"  # stands for each value that forward is given
_INPUTS = ("input=", "weight=", "index=", "indices=")
_DTYPED = "sum mean prod cumsum cumprod softmax log_softmax norm"


class Trigger(NamedTuple):
    """Words of which one is in every file that has the defect, and the pattern of its lines.

    Nothing is looked for where no file could tell: it takes the TorchScript file (`by_trace`) or a
    line of `.pnnx.param` that matches `by_row`; what has neither is told by the statement itself.
    """

    words: tuple[str, ...]
    pattern: str
    by_trace: bool = False
    by_row: bytes = b""


TRIGGERS = {
    "PNX212": Trigger(
        (" / ", " // ", "torch.round(", "torch.as_strided("),
        r" //? |torch\.round\(|torch\.as_strided\(",
        by_trace=True,
        by_row=_INTEGER_DIVISION,
    ),
    "PNX213": Trigger((f"return {_INPUT}",), r"^[ \t]+return v_\d+[ \t]*\r?$", by_trace=True),
    "PNX214": Trigger(("F.batch_norm(",), r"F\.batch_norm\(", by_trace=True),
    "PNX215": Trigger(
        tuple(f"{name}(" for name in _DTYPED.split()),
        rf"\b(?:torch|F)\.(?:{_DTYPED.replace(' ', '|')})\(",
        by_row=_RETYPED,
    ),
    "PNX216": Trigger(("=None",), r"\b(?:squeeze|tile|flip)\(.{0,1000}\bdims?=None"),
    "PNX217": Trigger(
        ("torch.maximum(", "torch.minimum(", "torch.atan2(", "torch.logaddexp(", "torch.fmod(", *_INPUTS),
        r"torch\.(?:maximum|minimum|atan2|logaddexp|fmod)\(.{0,1000}[(, ]-?\d"
        r"|(?:F\.embedding|F\.prelu|torch\.index_select)\(.{0,1000}(?:input|weight|index)=-?\d"
        r"|\.index_put\(.{0,1000}indices=",
    ),
    "PNX218": Trigger(("torch.stack(v_", "torch.cat(v_"), r"torch\.(?:stack|cat)\(v_\d+, "),
    "PNX219": Trigger(("inf", "nan"), r"[=(\[, ][+-]?(?:inf|nan)(?:\.0)?[,)\] ]"),
    "PNX220": Trigger(("[...,", "[["), r"= v_\d+\[(?:\.\.\.,|\[[^\]\n]{0,300}\bNone\b)"),
    "PNX221": Trigger(("torch.normal(v_",), r"torch\.normal\(v_\d+, .{0,1000}\bmean="),
    "PNX222": Trigger(("=None",), r"\b(?:condition|mask)=None\b"),
    "PNX223": Trigger(("= self.",), _MODULE_CALL),
    "PNX224": Trigger(
        ("torch.split(", "torch.chunk(", "torch.unbind(", "torch.tensor_split(", " = v_"),
        r"^[ \t]+v_\d+ = (?:torch\.(?:split|chunk|unbind|tensor_split)\(.*|v_\d+)[ \t]*\r?$",
    ),
    "PNX225": Trigger(("'null')", "'null',"), r"^[ \t]+v_\d+ = self\.\w+[ \t]*\r?$", by_row=rb"(?m)\)null\b"),
    "PNX226": Trigger(
        ("self.pixelshuffle_", "self.pixelunshuffle_", "self.channelshuffle_"),
        r"= self\.(?:pixelshuffle|pixelunshuffle|channelshuffle)_\d+\(v_\d+\)",
        by_row=rb"(?m)^nn\.(?:PixelShuffle|PixelUnshuffle|ChannelShuffle) ",
    ),
    "PNX227": Trigger((".reshape(",), r" = v_\d+\.reshape\(", by_row=_MISCOUNTED),
}
"""By the rule's code."""


def find_triggered(text: str, inputs: Sequence[str], rows: bytes, has_trace: bool) -> list[str]:
    """The codes whose rules have to look at a file's text. Cost: a few searches through it.

    `inputs` are the values that forward is given; `rows` is `.pnnx.param`, empty where there is none.
    """
    return [
        code
        for code, trigger in TRIGGERS.items()
        if any(word in text for word in _spell_out(trigger.words, inputs))
        and re.search(trigger.pattern, text, re.MULTILINE) is not None
        and _can_tell(trigger, rows, has_trace)
    ]


def _spell_out(words: Sequence[str], inputs: Sequence[str]) -> Iterator[str]:
    for word in words:
        if _INPUT in word:
            yield from (word.replace(_INPUT, name) for name in inputs)
        else:
            yield word


def _can_tell(trigger: Trigger, rows: bytes, has_trace: bool) -> bool:
    if not trigger.by_trace and not trigger.by_row:
        return True
    if trigger.by_trace and has_trace:
        return True
    return bool(trigger.by_row) and re.search(trigger.by_row, rows) is not None
