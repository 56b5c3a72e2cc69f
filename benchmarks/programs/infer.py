"""Times inference of several models in turn; prints the seconds of every round as JSON.

python infer.py ROUNDS CHANNELS,HEIGHT,WIDTH STEM...
"""

import json
import sys
import time

import ncnn
import numpy as np

rounds, shape, stems = int(sys.argv[1]), [int(n) for n in sys.argv[2].split(",")], sys.argv[3:]
data = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
nets = []
for stem in stems:
    net = ncnn.Net()
    net.opt.num_threads = 1
    if net.load_param(f"{stem}.ncnn.param") or net.load_model(f"{stem}.ncnn.bin"):
        raise SystemExit(f"ncnn does not load {stem}")
    nets.append(net)
times: list[list[float]] = [[] for _ in nets]
results = []
for at in range(-2, rounds):
    for net, found in zip(nets, times, strict=True):
        with net.create_extractor() as extractor:
            extractor.input("in0", ncnn.Mat(data).clone())
            start = time.perf_counter()
            status, result = extractor.extract("out0")
            seconds = time.perf_counter() - start
            if status or not result.dims:
                raise SystemExit("ncnn gives no out0")
        if at < 0:
            results.append(np.array(result))
        else:
            found.append(seconds)
if not all(np.allclose(result, results[0], rtol=1e-3, atol=1e-3) for result in results):
    raise SystemExit("the models do not compute the same")
print(json.dumps(times))
for net in nets:
    net.clear()
