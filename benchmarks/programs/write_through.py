"""Floor: writes copies of files, waits for the disk after each, renames them; prints the seconds of that."""

import os
import sys
import time

pairs = []
for path in sys.argv[1:]:
    with open(path, "rb") as source:
        pairs.append((path, source.read()))
start = time.perf_counter()
for path, data in pairs:
    with open(path + ".new", "wb") as target:
        target.write(data)
        target.flush()
        os.fsync(target.fileno())
for path, _ in pairs:
    os.replace(path + ".new", path)
directory = os.open(os.path.dirname(sys.argv[1]), os.O_RDONLY)
os.fsync(directory)
print(time.perf_counter() - start)
