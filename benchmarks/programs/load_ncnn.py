"""Floor: ncnn loads a param; prints the seconds of that alone."""

import sys
import time

import ncnn

net = ncnn.Net()
start = time.perf_counter()
if net.load_param(sys.argv[1]):
    raise SystemExit("ncnn does not load it")
print(time.perf_counter() - start)
