"""The program of the child process that loads networks into the real ncnn; run by path, never imported.

`load_check` starts it with a secret mark as its only argument. It says on its output whether ncnn could
be imported, then reads requests from its input until that ends and answers each with one line. Output and
errors are one pipe, so that the native messages of a load stand in order before its answer; the mark
tells answers from messages, which repeat names out of an untrusted file.
"""

from __future__ import annotations

import os
import sys

# Before any further import: Python put the folder of this file in front, and no module is to come from
# there. A relative entry of PYTHONPATH was resolved in the working directory, which the parent chose.
_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if entry and os.path.abspath(entry) != _HERE]

TYPE_CHECKING = False  # importing typing would cost the child more than ncnn's own import
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

_GIB = 1 << 30


def answer(text: str) -> None:
    line = f"\n{sys.argv[1]} {text}\n".encode("utf-8", "backslashreplace")
    while line:
        line = line[os.write(1, line) :]


def limit_resources(param_size: int, bin_size: int) -> None:
    """Lets absurd counts in a header end in MemoryError instead of in the machine's swap.

    ncnn before 20261020 allocates what line 2 says, whatever follows. A row of a param becomes less
    than 50 times its bytes; 32 times the bin leaves room for weights that are unpacked to float.
    No core file: a crash is an answer here.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:  # no Linux; macOS does not heed the limit below either
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = used + 2 * _GIB + 1024 * param_size + 32 * bin_size
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def count_read() -> int:
    """The bytes that this process has read so far; 0 where the system does not tell."""
    try:
        with open("/proc/self/io", "rb") as file:
            return int(file.readline().split()[1])
    except OSError:
        return 0


def native(path: bytes) -> bytes | str:
    """The path as the binding takes it: bytes pass a file name that is not UTF-8, Windows wants text."""
    return os.fsdecode(path) if os.name == "nt" else path


def replace_types(param: bytes, types: Collection[bytes]) -> tuple[bytes, set[bytes]]:
    """The param with every layer of `types` turned into a Noop, and which of `types` there were.

    Noop takes any number of inputs and outputs and ignores all parameters in every release from
    20240102 to 20261020. A stub given to `register_custom_layer` loads as well, but before 20261020 the
    binding takes ten registrations in the life of a process and then raises.
    """
    lines = param.splitlines(keepends=True)
    found = set()
    for i, line in enumerate(lines[2:], start=2):
        first = line.split(None, 1)[:1]
        if first and first[0] in types:
            found.add(first[0])
            lines[i] = line.replace(first[0], b"Noop", 1)
    return b"".join(lines), found


def load(ncnn: Any, param: bytes, bin_path: bytes, owners: dict[bytes, bool], trial: list[bytes]) -> str:
    """`loaded` with the unread bytes of the bin and the types that were replaced, or the file ncnn refused.

    `owners` says of each type to replace whether it may own a part of the bin, which is then not read.
    With a `trial`, a network that is loaded whole is run.
    """
    limit_resources(*(os.path.getsize(path) if os.path.isfile(path) else 0 for path in (param, bin_path)))
    net = ncnn.Net()
    net.opt.num_threads = 1
    if not trial:
        # The weights are read all the same; rearranging them for speed takes 6 times as long as that.
        net.opt.use_winograd_convolution = net.opt.use_sgemm_convolution = False
        net.opt.use_packing_layout = False
    found: set[bytes] = set()
    if owners:
        with open(param, "rb") as source:
            text, found = replace_types(source.read(), owners)
    if found:
        import tempfile

        # A file, not load_param_mem: reading from memory takes ncnn two to three times as long.
        with tempfile.TemporaryDirectory() as folder:
            copy = os.path.join(folder, "stubbed.ncnn.param")
            with open(copy, "wb") as target:
                target.write(text)
            status = net.load_param(native(os.fsencode(copy)))
    else:
        status = net.load_param(native(param))
    if status != 0:
        return "param"
    is_bin_whole = not any(owners[layer] for layer in found)
    unread = 0
    if bin_path and is_bin_whole:
        before = count_read()
        if net.load_model(native(bin_path)) != 0:
            return "bin"
        unread = max(0, os.path.getsize(bin_path) - (count_read() - before)) if before else 0
    if trial and bin_path and not found:
        answer("running")
        failure = run(ncnn, net, trial)
        if failure:
            return f"failed {failure}"
    return " ".join(["loaded", str(unread), *sorted(os.fsdecode(layer) for layer in found)])


def run(ncnn: Any, net: Any, trial: list[bytes]) -> str:
    """Feed zeros and take the outputs; what is wrong, or an empty string.

    A word of the trial is `<in0=3x8x8` or `>out0=10`, sizes without those of one, `?` where unknown.
    """
    with net.create_extractor() as extractor:
        for word in trial:
            name, _, text = word[1:].decode().partition("=")
            if word[:1] == b"<":
                blob = ncnn.Mat(*map(int, reversed(text.split("x"))))
                blob.fill(0.0)
                extractor.input(name, blob)
                continue
            code, blob = extractor.extract(name)
            if code != 0 or blob.dims == 0:
                return f"{name} cannot be computed (code {code})"
            sizes = {1: "w", 2: "hw", 3: "chw", 4: "cdhw"}[blob.dims]
            found = [getattr(blob, axis) for axis in sizes]
            wanted = [int(size) for size in text.split("x") if size not in ("", "?")]
            # A blob with members of a batch has them on an axis of its own.
            if text != "?" and getattr(blob, "n", 1) == 1 and [one for one in found if one != 1] != wanted:
                return f"{name} has shape ({', '.join(map(str, found))}), not that of the model ({text or 1})"
    return ""


def serve() -> None:
    try:
        import ncnn
    except ModuleNotFoundError as error:
        return answer(f"{'absent' if error.name == 'ncnn' else 'broken'} {error!r}")
    except Exception as error:
        return answer(f"broken {error!r}")
    answer(f"ready {ncnn.__version__}")
    requests = sys.stdin.buffer
    while head := requests.readline():
        param, bin_path, *words = requests.read(int(head)).split(b"\0")
        owners = {word[1:]: word[:1] == b"+" for word in words if word[:1] in b"+-"}
        trial = [word for word in words if word[:1] in b"<>"]
        try:
            answer(load(ncnn, param, bin_path, owners, trial))
        except Exception as error:
            answer(f"error {error!r}")


if __name__ == "__main__":
    serve()
