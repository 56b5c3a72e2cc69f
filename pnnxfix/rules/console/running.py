"""Lines about the run itself: what it was given, what it could not write, how it died."""

from __future__ import annotations

from pnnxfix.rules.console.base import ConsoleRule


class UnrecognizedArgument(ConsoleRule):
    """An argument that pnnx did not understand and passed over.

    What it finds: `unrecognized arg <word>`.

    Why it breaks: the conversion was not made as you asked. A key that pnnx does not know is passed
    over without a word.

    Repair: none; `pnnxfix convert` refuses such arguments before pnnx runs.

    Limits: none.

    Example:
        unrecognized arg inputshape

    Source: pnnx main.cpp.
    """

    code = "PNX511"
    name = "unrecognized-argument"
    patterns = (r"unrecognized arg (?P<value>.*)",)
    verdict = "suspect"
    meaning = "pnnx passed over this argument"
    cure = "write it as key=value without spaces"


class UnreadableModel(ConsoleRule):
    """pnnx could not read the model.

    What it finds: `Load torchscript failed: ...`, `open failed ...`, `read_proto_from_binary failed`,
    `No method in torchscript`, `dlopen ... failed`.

    Why it breaks: nothing was converted.

    Repair: none.

    Limits: none.

    Example:
        Load torchscript failed: PytorchStreamReader failed reading zip archive

    Source: pnnx load_torchscript.cpp, load_onnx.cpp.
    """

    code = "PNX512"
    name = "unreadable-model"
    patterns = (
        r"Load torchscript failed: .*",
        r"open failed(?: .*)?",
        r"no such file .*",
        r"read_proto_from_binary failed",
        r"No method in torchscript",
        r"(?:dlopen|LoadLibraryExA) .* failed .*",
        r"PytorchStreamReader failed .*",
        r"FATAL ERROR .*external data.*",
    )
    verdict = "fatal"
    meaning = "pnnx could not read the model"
    cure = "save it with torch.jit.trace(model.eval(), inputs).save(path); a state_dict is no model"


class InputMismatch(ConsoleRule):
    """The inputs that were given are not the model's.

    What it finds: `input_shape expect 1 tensors but got 2`, `input_shapes[0] expect [1,3,8,8]f32 but
    got [1,3]f32`, `parameter conflict: ...`, `npy load failed ...` and their like.

    Why it breaks: pnnx ends without converting.

    Repair: none.

    Limits: releases before 20241223 do not compare, and die later.

    Example:
        input_shapes[0] expect [1,3,8,8]f32 but got [1,3]f32

    Source: pnnx load_torchscript.cpp and main.cpp.
    """

    code = "PNX513"
    name = "input-mismatch"
    patterns = (
        r"input_shapes?(?:\[\d+\])? expect .*",
        r"input2? expect \d+ tensors but got \d+",
        r"input2? tensor \d+ data size mismatch.*",
        r"invalid input2? shape for tensor \d+",
        r"unsupported (?:traced )?input2? type .*",
        r"parameter conflict: .*",
        r"npy load failed .*",
        r"npy input metadata count mismatch",
    )
    verdict = "fatal"
    meaning = "the inputs that were given are not those of the model"
    cure = "give inputshape= as the model was traced: shape and type of each input, in order"


class UnwrittenFile(ConsoleRule):
    """A file that pnnx could not write.

    What it finds: `fopen <path> failed`, `write onnx failed`.

    Why it breaks: that file is missing, the others refer to it, and pnnx ends with exit code 0.

    Repair: none.

    Limits: a disk that is full in the middle of a file is not noticed by pnnx at all.

    Example:
        fopen /models/net.ncnn.param failed

    Source: pnnx save_ncnn.cpp, ir.cpp, save_onnx.cpp; 20240226 to 20261020.
    """

    code = "PNX514"
    name = "unwritten-file"
    patterns = (r"fopen (?P<path>.*) failed", r"write (?:pnnxsim )?onnx failed", r"write .*\.zip failed")
    verdict = "fatal"
    meaning = "this file is missing from the conversion, though pnnx ended with exit code 0"
    cure = "make the directory, or make it writable, and convert again"


class DiedInOperator(ConsoleRule):
    """pnnx died of an operator that the PyTorch inside it cannot run.

    What it finds: `RuntimeError: ...`, `Unknown builtin op: aten::qr.`, and the line of the TorchScript
    code that PyTorch marks with `<--- HERE`.

    Why it breaks: pnnx runs the model to learn its shapes and values, with a PyTorch of its own that
    has no LAPACK, no sparse kernels and no operators that were removed since.

    Repair: none.

    Limits: none.

    Example:
        RuntimeError: Calling torch.linalg.qr on a CPU tensor requires compiling PyTorch with LAPACK.

    Source: libtorch, linked into pnnx; 73 of 1,166 single-operator models in 20261020.
    """

    code = "PNX515"
    name = "died-in-operator"
    patterns = (
        r"RuntimeError: .*",
        r"(?:NotImplementedError|IndexError|ValueError|TypeError): .*",
        r"Unknown builtin op: (?P<type>[\w:]+)\.?",
        r"  what\(\):  .*",
    )
    verdict = "fatal"
    meaning = "pnnx died of it"
    cure = "replace the operator in the PyTorch model"


class DiedInside(ConsoleRule):
    """The run ended before pnnx was done.

    What it finds: a log without `pass_ncnn`, or without the statistics that 20261020 writes last;
    `malloc_consolidate(): ...`, `Segmentation fault`, `Killed`.

    Why it breaks: files are missing, or are of an earlier run.

    Repair: none; `pnnxfix convert` finds the operator of which pnnx dies by converting parts.

    Limits: `x * inf` is one that is known: pnnx's pass for ncnn dies of inf inside arithmetic.

    Example:
        ############# pass_level5

    Source: pnnx main.cpp prints a line before each pass.
    """

    code = "PNX516"
    name = "died"
    patterns = (
        r"(?:malloc\w*\(\)|free\(\)|corrupted|double free|munmap_chunk\(\)|realloc\(\)).*",
        r".*(?:Segmentation fault|Aborted|Illegal instruction|Bus error)(?: \(core dumped\))?.*",
        r"Killed",
        r"terminate called .*",
    )
    verdict = "fatal"
    meaning = "pnnx died"
    cure = "`pnnxfix convert` finds the operator of which it dies"


class OtherModel(ConsoleRule):
    """The log of another model.

    What it finds: a log that was given by hand and names none of the files beside it.

    Why it breaks: its values would be taken for those of this model.

    Repair: none.

    Limits: files that were renamed after the conversion look the same.

    Example:
        pnnxparam = other.pnnx.param

    Source: the `key = value` lines with which every log begins.
    """

    code = "PNX517"
    name = "other-model"
    patterns = ()
    verdict = "fatal"
    meaning = "this log is of another conversion"
    cure = "give the log that pnnx printed for this model"


class UnknownLine(ConsoleRule):
    """A line that pnnxfix does not know.

    What it finds: what no other rule explains and pnnx does not print in a good run.

    Why it breaks: perhaps not at all. A log may hold what other programs printed, so it is no finding.

    Repair: none.

    Limits: the lines were collected from the releases 20240226 to 20261020.

    Example:
        anything else

    Source: none.
    """

    code = "PNX599"
    name = "unknown-line"
    patterns = ()
    verdict = "unknown"
    meaning = "not known to pnnxfix"
    cure = "if pnnx printed it, please report it; if the numbers agree, it was harmless"
