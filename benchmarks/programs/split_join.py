"""Floor: reads files as text, splits every line, joins it and writes the result to the last path.

    python split_join.py streamed|held FILE... RESULT

`streamed` joins each line as soon as it is split; `held` splits all before it joins the first, as a
program must that looks at the whole graph.
"""

import sys

held, *sources, result = sys.argv[1:]
for path in sources:
    with open(path, encoding="utf-8", newline="") as source:
        lines = source.read().split("\n")
    if held == "held":
        rows = [line.split() for line in lines]
        text = "\n".join([" ".join(row) for row in rows])
    else:
        text = "\n".join([" ".join(line.split()) for line in lines])
    with open(result, "w", encoding="utf-8", newline="") as target:
        target.write(text)
