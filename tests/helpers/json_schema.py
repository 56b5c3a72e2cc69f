"""The JSON schemas that stand in the documentation, and what is held against them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"


def read_schema(page: str) -> dict[str, Any]:
    """The schema in a page of the documentation. Raises AssertionError where there is none."""
    block = re.search(r"<!-- json-schema -->\n```json\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert block is not None
    read: dict[str, Any] = json.loads(block[1])
    return read


def validate(document: Any, page: str) -> None:
    """Raises jsonschema.ValidationError, also for a field that the schema does not name."""
    import jsonschema

    jsonschema.Draft202012Validator(strict(read_schema(page))).validate(document)


def strict(node: Any) -> Any:
    """The schema with every field named: what the document does not know must not be written."""
    if isinstance(node, list):
        return [strict(value) for value in node]
    if isinstance(node, dict):
        node = {key: strict(value) for key, value in node.items()}
        if node.get("type") in ("object", ["object", "null"]):
            node["additionalProperties"] = False
    return node
