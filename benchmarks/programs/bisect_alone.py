"""Runs `verify --bisect`; prints the seconds that the bisection took behind the comparison, and its CPU's.

python bisect_alone.py FOLDER
"""

import os
import sys
import time
from pathlib import Path

import pnnxfix.verify.bisect as module
from pnnxfix.verify.run import verify_paths
from pnnxfix.verify.settings import Settings

bisect = module.bisect


def use_of_processor() -> float:
    """Seconds of this process and of those that it has started, which live until the end."""
    own = os.getpid()
    used = time.process_time()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == own:
            used += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used


def time_it(*arguments: object) -> None:
    start, used = time.perf_counter(), use_of_processor()
    bisect(*arguments)  # type: ignore[arg-type]
    print(time.perf_counter() - start, use_of_processor() - used)


module.bisect = time_it
verdicts, problems = verify_paths([Path(sys.argv[1])], Settings(bisect=True))
if problems or verdicts[0].exit_code != 1:
    raise SystemExit("nothing was bisected")
