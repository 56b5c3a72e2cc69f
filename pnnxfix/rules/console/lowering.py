"""Lines of pnnx's passes for ncnn: it wrote something, and what it wrote may not be the model."""

from __future__ import annotations

from pnnxfix.rules.console.base import ConsoleRule

_ALONG = r"(?P<kind>\w+) (?:tensor )?along batch (?:axis|index)(?: -?\d+)?(?: with unknown shape)?"


class UnsupportedParameter(ConsoleRule):
    """An operator was given something that ncnn's layer has not.

    What it finds: `unsupported norm p=6.000000`, `unsupported upsample_nearest size`,
    `chunk with non-perfect divided size 5 / 2 is not supported`, `BinaryOp fmod not supported yet` and
    their like.

    Why it breaks: pnnx writes the layer all the same, without the parameter. It loads, runs, and
    gives other numbers or shapes.

    Repair: none.

    Limits: now and then the default is what was meant; compare the numbers.

    Example:
        unsupported norm p=6.000000

    Source: pnnx pass_ncnn; `Reduction norm_0 1 1 in0 out0` for p=6 in 20261020.
    """

    code = "PNX503"
    name = "unsupported-parameter"
    patterns = (
        r"unsupported (?:F\.)?(?P<kind>norm|normalize|upsample|upsample_nearest|upsample_bilinear"
        r"|interpolate|avgpool2d|avgpool3d|avg_pool2d|max_pool2d|spectrogram|padding_mode)\b.*",
        r"(?P<kind>chunk|tensor_split) with non-perfect divided size -?\d+ / -?\d+ is not supported",
        r"(?P<kind>\w+) with step (?:expression )?\S+ is not supported",
        r"(?P<kind>slice_scatter) step -?\d+ is not supported yet!",
        r"(?P<kind>MultiheadAttention|RNN) .* ?not supported",
        r"(?:UnaryOp|BinaryOp) (?P<kind>\w+) not supported yet",
        r"unhandled upsample recompute_scale_factor graph",
    )
    verdict = "suspect"
    meaning = "the layer was written without it"
    cure = "express it with what ncnn has, before tracing"


class BatchAxisOperator(ConsoleRule):
    """An operator works on the axis that pnnx took for the batch.

    What it finds: `cat along batch axis 0 is not supported`, `softmax axis around batch axis 0 is
    unknown`, `binaryop broadcast across batch axis 0 and 233 is not supported`.

    Why it breaks: ncnn's blobs have no batch axis. pnnx writes the layer without its axis; it loads,
    runs, and works on another axis.

    Repair: none: nothing in the files says what the neighbours meant.

    Limits: a broadcast over an axis of size one is right as it stands.

    Example:
        cat along batch axis 0 is not supported

    Source: pnnx pass_ncnn; the guess is made in solve_batch_index.
    """

    code = "PNX504"
    name = "batch-axis-operator"
    patterns = (
        _ALONG + r" is not supported(?: yet)?!?",
        r"(?P<kind>\w+) axis around batch axis -?\d+ is unknown",
        r"(?P<kind>binaryop) broadcast across batch axis -?\d+ and -?\d+ is not supported",
        r"(?P<kind>repeat|reshape|reshape_as|unflatten) tensor (?:with|to) batch index -?\d+ is not supported"
        r" yet!",
        r"(?P<kind>unsqueeze|slice_scatter) batch dim -?\d+ is not supported yet!",
        r"(?P<kind>permute) across batch dim is not supported yet!",
        r"(?P<kind>reshape|slice) expression refer to batch axis -?\d+ is not supported",
        r"reshape: batch axis is outside logical rank",
    )
    verdict = "suspect"
    meaning = "it works on the axis that pnnx took for the batch, which ncnn has not"
    cure = "work on another axis than the first, or put an axis of size one in front of all tensors"


class RankLimit(ConsoleRule):
    """A tensor has more axes than a blob of ncnn.

    What it finds: `reshape: target exceeds ncnn physical rank`, `permute 5-rank tensor is not
    supported yet!`, `binaryop tensor0 with rank 5 is not supported yet!` and their like.

    Why it breaks: a blob has at most four axes, and the batch apart.

    Repair: none.

    Limits: none.

    Example:
        permute 5-rank tensor is not supported yet!

    Source: pnnx pass_ncnn; ncnn mat.h.
    """

    code = "PNX505"
    name = "rank-limit"
    patterns = (
        r"(?P<kind>reshape): target exceeds ncnn physical rank",
        r"(?P<kind>reshape) has unsupported physical rank \d+",
        r"(?P<kind>reshape|reshape_as) to \d+-rank physical tensor is not supported by ncnn runtime yet",
        r"(?P<kind>\w+) (?:to )?\d+-rank tensor is not supported yet!",
        r"(?P<kind>\w+) \d+-rank tensor with \d+-rank (?:dims|axes) is not possible!?",
        r"(?P<kind>binaryop) tensor[01] with rank \d+ is not supported yet!",
        r"pnnx attribute \d+-rank tensor is not supported yet!",
        r"(?P<kind>\w+) expression refer to \d+-rank dim -?\d+ is not supported",
        r"(?P<kind>group_norm|instance_norm) not possible for \d+-rank tensor",
        r"(?P<kind>unflatten|flatten) -?\d+(?: to -?\d+)? not possible for \d+-rank tensor",
        r"(?P<kind>reshape_as) tensor with (?:over 5 / unknown|unbatched 5) rank tensor is not supported"
        r" yet!",
        r"(?P<kind>transpose) invalid dim -?\d+ -?\d+ for \d+-rank tensor",
    )
    verdict = "suspect"
    meaning = "a blob of ncnn has at most four axes besides the batch"
    cure = "merge axes before this operator (flatten, reshape) and split them after it"


class Assumption(ConsoleRule):
    """pnnx did not know, and took something else.

    What it finds: `assume reshape 5-rank tensor has batch_index 0`, lines with `fallback to`,
    `unsupported interpolate align_corners, assume false`, `... detected and dropped !`.

    Why it breaks: the layer is right only if the guess is.

    Repair: none.

    Limits: most of these guesses are right; compare the numbers.

    Example:
        assume reshape 5-rank tensor has batch_index 0

    Source: pnnx pass_ncnn and pass_level1.
    """

    code = "PNX506"
    name = "assumption"
    patterns = (
        r"assume (?:pnnx )?(?P<kind>\w+) 5-rank tensor has batch_index 0",
        r"(?P<kind>\w+) .*\bfallback to .*",
        r"fallback to reduce (?P<kind>max|min) all",
        r"unsupported (?P<kind>interpolate) align_corners, assume false",
        r"(?P<kind>ConvTranspose[123]d) arg output_size detected and dropped !",
        r"auto_pad .* may lead to incorrect output shape",
    )
    verdict = "suspect"
    meaning = "pnnx guessed"
    cure = "give the shapes with inputshape=, and avoid what the line names"


class UnknownShape(ConsoleRule):
    """A shape, an index or a step is not known when the model is converted.

    What it finds: `slice with dynamic start is not supported`, `transpose rank is unknown`,
    `model has dynamic dimension size, but no inputshape2 specified` and their like.

    Why it breaks: ncnn's layers have constants there; pnnx writes none.

    Repair: none.

    Limits: none.

    Example:
        slice with dynamic start is not supported

    Source: pnnx pass_ncnn.
    """

    code = "PNX507"
    name = "unknown-shape"
    patterns = (
        r"(?P<kind>slice_copy|slice|select) with dynamic \w+ is not supported",
        r"dynamic dims? in .* chain is not supported",
        r"(?P<kind>transpose) rank is unknown",
        r"(?P<kind>\w+)\b.*: unsupported dimension reference",
        r"(?P<kind>reshape) .*: (?:un)?flatten .*",
        r"(?P<kind>reshape)\b.* exceeds (?:ncnn )?integer range",
        r"(?P<kind>reshape): target (?:rank is unknown|has multiple infer dimensions)",
        r"(?P<kind>reshape): missing shape reference",
        r"(?P<kind>reshape) has unsupported logical dimension .*",
        r"(?P<kind>expand) tensor with unknown input shape is not supported yet!",
        r"can not resolve pads without shape",
        r"ort \w+ failed .*",
        r"(?P<kind>\w+?)(?: with)? unknown (?:input rank|channel size) is not supported yet",
        r"skip .* rewrite for unknown-rank tensor",
        r"model has dynamic dimension size, but no inputshape2 specified",
        r"Cannot resolve GroupNorm num_channels when affine=False",
        r"(?:shape expression got unsupported op|expression with large reference id) .*",
        r"unsupported index expression input .*",
    )
    verdict = "suspect"
    meaning = "its value is not known when the model is converted"
    cure = "give inputshape=, and inputshape2= where sizes vary; trace with constants in place of sizes"


class LostConstant(ConsoleRule):
    """pnnx could not keep a constant or an operator of the TorchScript graph.

    What it finds: `todo <node>`, `unknown Parameter value kind ...`, `no attribute value`,
    `no such operand ...`, `concat attribute shape mismatch`, `file size not match ...`.

    Why it breaks: the value is missing from every file.

    Repair: none.

    Limits: a constant that nothing reads is lost without harm.

    Example:
        todo prim::device

    Source: pnnx ir.cpp, load_torchscript.cpp, load_onnx.cpp, storezip.cpp.
    """

    code = "PNX510"
    name = "lost-constant"
    patterns = (
        r"todo (?P<type>.*)",
        r"unknown Parameter value(?:_node| list element)? kind .*",
        r"unknown (?:parameter type|Attribute tensor scalar type) .*",
        r"unknown (?:Node attribute|constant) .*",
        r"unsupported tensor elem data type .*",
        r"(?:OnnxAttributeProxy value_\w+|get_tensor_\w+) failed",
        r"no attribute value.*",
        r"no such operand .*",
        r"(?:cannot convert|replace pattern param|malformed|fuse expression got) .*",
        r"concat attribute .*mismatch",
        r"file size not match .*",
        r"(?:not stored zip file|unsupported signature|zip file contains data descriptor).*",
        r"TorchGraphProxy find_producer_node_by_value failed",
    )
    verdict = "suspect"
    meaning = "a value of the model is in none of the files"
    cure = "compute it before tracing, and store it as a buffer"
