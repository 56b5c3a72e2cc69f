"""Floor: reads files as text, splits every line, joins it and writes the result to the last path."""

import sys

for path in sys.argv[1:-1]:
    with open(path, encoding="utf-8", newline="") as source:
        text = source.read()
    text = "\n".join([" ".join(line.split()) for line in text.split("\n")])
    with open(sys.argv[-1], "w", encoding="utf-8", newline="") as target:
        target.write(text)
