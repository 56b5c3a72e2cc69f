"""What goes into an operator that shuffles channels, by what comes out of it.

pnnx makes such an operator of a reshape, a permutation and a reshape, and does not look at what the first
one reads (pass_level5/fuse_pixel_shuffle, fuse_pixel_unshuffle, fuse_channel_shuffle): where that has
another shape, a reshape is lost.
"""

from __future__ import annotations

import re
from math import prod

from pnnxfix.graph.graph import Operator

SHUFFLES = {
    "nn.PixelShuffle": "upscale_factor",
    "nn.PixelUnshuffle": "downscale_factor",
    "nn.ChannelShuffle": "groups",
}


def find_lost_reshape(
    operator: Operator, given: tuple[int, ...], result: tuple[int, ...]
) -> tuple[int, ...] | None:
    """The shape that the input of a shuffle was brought into, None where it had it or nothing is certain."""
    text = operator.parameter(SHUFFLES.get(operator.type, "")) or ""
    if len(result) != 4 or not re.fullmatch("[0-9]{1,9}", text) or min(*given, *result, int(text)) < 1:
        return None
    factor, (batch, channels, height, width) = int(text), result
    if operator.type == "nn.PixelShuffle":
        wanted = (batch, channels * factor * factor, height // factor, width // factor)
    elif operator.type == "nn.PixelUnshuffle":
        wanted = (batch, channels // (factor * factor), height * factor, width * factor)
    else:
        wanted = result
    return wanted if wanted != given and prod(wanted) == prod(given) == prod(result) else None
