"""What the two child programs share: their limits, and the loop that answers requests.

A request is one line of JSON, so is an answer. The pipe of the answers is moved away from file
descriptor 1 first, so that nothing that a network or a library prints is taken for one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

Action = Callable[..., dict[str, Any]]


def limit_memory(limit: int) -> None:
    """Lets the process have `limit` bytes of address space more than it has now; 0 is no limit.

    An allocation beyond it fails, and that is an answer; the machine's swap is left in peace.
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
    wanted = used + limit
    if limit:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def serve(actions: dict[str, Action], start: Callable[[], str]) -> None:
    """Answer requests until the input ends. `start` imports the runtime and gives its name."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        answer({"runtime": start()})
    except Exception as error:
        return answer({"error": f"{type(error).__name__}: {error}"})
    limit_memory(int(sys.argv[1]))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer(actions[request.pop("do")](**request))
        except Exception as error:
            answer({"error": _explain(error)})


def _explain(error: Exception) -> str:
    text = " ".join(str(error).split())
    if len(text) > 400:  # the cause stands at the end of TorchScript's
        text = f"{text[:150]} ... {text[-250:]}"
    return f"{type(error).__name__}: {text}"
