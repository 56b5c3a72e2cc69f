"""A child process that dies is blamed on the request that it was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.child import Child, ChildFailed

PROGRAM = """
import json, os, sys
for line in sys.stdin:
    word = json.loads(line)["word"]
    print("heard", word, file=sys.stderr, flush=True)
    if word == "die":
        os.abort()
    print(json.dumps({"error": "no"} if word == "fail" else {"pid": os.getpid()}), flush=True)
"""


def test_crash_belongs_to_its_request_and_the_next_one_is_answered(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    child = Child(str(program))
    first = child.ask({"word": "one"})
    assert child.ask({"word": "two"}) == first
    with pytest.raises(ChildFailed, match=r"'fail'.*no\nheard fail"):
        child.ask({"word": "fail"})
    assert child.ask({"word": "three"}) == first
    with pytest.raises(ChildFailed, match=r"'die'.*ended with -?\d+\nheard die"):
        child.ask({"word": "die"})
    assert child.ask({"word": "four"}) != first
    child.close()
