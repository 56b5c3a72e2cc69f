"""Constants of operators as `.pnnx.param` spells them, read into Python values."""

from __future__ import annotations

from pnnxfix.codecs.number import read_printed
from pnnxfix.rules.base import Refusal

Constant = bool | int | float | str | tuple["Constant", ...] | None

_WORDS: dict[str, bool | None] = {"None": None, "True": True, "False": False}
_LONGEST_LIST = 4096


def read_constant(text: str, *, integers: bool = False) -> Constant | Refusal:
    """`None`, `True`, a number, a list such as `(1,2)` or `[1,2]`, else the text as a string.

    A Refusal where the spelling may have destroyed a number in it. `integers`: axes, sizes and
    positions are asked for, which are never so large that pnnx has cut them.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] in "([" and text[-1:] in ")]":
        inside = text[1:-1].strip().rstrip(",")
        words = inside.split(",") if inside else []
        if len(words) > _LONGEST_LIST or any(word.strip()[:1] in {"(", "[", "@"} for word in words):
            return Refusal(
                f"`{text[:40]}` is no list of constants", "replace the operator in the PyTorch model"
            )
        items: list[Constant] = []
        for word in words:
            item = read_constant(word.strip(), integers=integers)
            if isinstance(item, Refusal):
                return item
            items.append(item)
        return tuple(items)
    number = read_printed(text)
    if number is None:
        return text
    if number.doubt and not (integers and isinstance(number.value, int)):
        return Refusal(number.doubt, "keep the TorchScript file (model.pt) beside the output, or use --value")
    return number.value
