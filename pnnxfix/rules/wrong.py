"""Layers that ncnn loads and that compute something else than the model."""

from __future__ import annotations

from pnnxfix.rules.base import Rule


class WrongLayer(Rule):
    """A converted layer whose parameters contradict `.pnnx.param`.

    What it finds: a Reduction over other axes or of another kind than `.pnnx.param` says (`torch.amax`
    of all elements, `torch.norm` of orders other than 1 and 2), a Normalize of another order or axis
    than ncnn's layer has, a Softmax or CumulativeSum along the batch axis, a Slice into equal parts
    where the parts differ, an InstanceNorm or RMSNorm over axes that the layer cannot take together,
    an Interp of a volume or of mode nearest-exact, an SDPA with a mask of true and false or one that
    is to be repeated over its rows, a MultiHeadAttention over a batch with a mask for each of its
    members, a Concat along the batch axis, of five axes, or of a stored tensor without elements, as an
    empty cache of keys and values, a BatchNorm that gets the members of another axis than the batch's,
    a BinaryOp whose inputs hold different axes of theirs as the members of a batch, a MatMul for
    `torch.bmm` whose inputs hold rows as the members, arithmetic on
    integers, whose bits a layer takes for floats, BinaryOp 17 and 18, which are not
    `torch.remainder`, BinaryOp 6, which is no power where its base is 0 or below, a UnaryOp or BinaryOp
    whose operation older releases of pnnx do not write (sign, erf, fmod, remainder, floor_divide,
    logaddexp), a division or a rounding whose rounding_mode or decimals pnnx dropped, by the TorchScript
    file beside the conversion (PNX212), a MemoryData whose numbers are stored as float64, and a
    PixelShuffle, Reorg or ShuffleChannel that took the place of a reshape, too (PNX226).

    Why it breaks: ncnn loads the graph and gives wrong numbers, and nothing warns but a line of
    pnnx's log.

    Repair: the operator is lowered again from `.pnnx.param`, as one that pnnx left behind.

    Limits: found only where it is certain which layer an operator became: all operators that pnnx
    gives that name must still have their layer, or their own row. An Interp without sizes is
    reported even then, and repaired only where its operator is certain; and so are all divisions, where
    only some of them dropped their rounding. A remainder is x - y * floor(x / y), a division that rounds
    down floor(x / y): where x / y is within rounding of a whole number, 0 and y may change places. A
    power is left alone where its base is certainly above 0. To a negative exponent, 0 gives nan and not
    infinity. A floor_divide without operation is reported only: pnnx gives that name to torch.div with
    rounding_mode="trunc", too.

    Example:
        Reduction   amax_0   1 1 in0 out0 0=4 1=0 -23303=0 4=0 5=1      (an empty list of axes)
        Reduction   amax_0   1 1 in0 out0 0=4 1=1 4=0

    Source: pnnx pass_ncnn (July 2026) and conversions of 20261020; ncnn reduction.cpp, normalize.cpp,
    rmsnorm.cpp, instancenorm.cpp, binaryop.cpp, unaryop.cpp, multiheadattention.cpp; conversions of
    20240226 to 20260409.
    """

    code = "PNX150"
    name = "wrong-layer"


class UnfedInput(Rule):
    """An input that has the name of an output, since the network gives it back as it is.

    What it finds: a row `Input in0 0 1 out0` in `.ncnn.param`: pnnx dropped all operators between an
    input and an output (a clone, a dropout), and gave their one blob the name of the output.

    Why it breaks: there is no blob `in0`, so a program that feeds it feeds nothing, and what it
    extracts is empty or garbage. `_ncnn.py` leaves the input out.

    Repair: the input gets its name back, and a Noop makes the output of it.

    Limits: `_ncnn.py` is made to feed it, where `.pnnx.param` tells its shape. A model that
    converts to bfloat16 is refused; one that converts to half keeps the float32 numbers.

    Example:
        Input   in0   0 1 out0      ->      Input   in0   0 1 in0
                                            Noop    noop_fix   1 1 in0 out0

    Source: conversions of 20261020; ncnn noop.cpp.
    """

    code = "PNX151"
    name = "unfed-input"


class WideInput(Rule):
    """An input with more axes than a blob.

    What it finds: an input that `_ncnn.py` makes with five axes and no batch, or six with one.

    Why it breaks: a blob has four axes besides a batch, so ncnn can be given no such input, and pnnx
    says nothing. What does not depend on it can be computed all the same.

    Repair: none; the network that is exported must be given fewer axes.

    Limits: found only with `.pnnx.param` and `_ncnn.py`.

    Example:
        in2 = torch.rand(14, 8, 5, 9, 10, dtype=torch.float)
        ex.input("in2", ncnn.Mat(in2.numpy(), batch_index=233).clone())

    Source: ncnn mat.h; conversions of 20261020.
    """

    code = "PNX152"
    name = "wide-input"
    fixable = "never"
