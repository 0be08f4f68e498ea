"""Files for the tests of forms."""

import json


def write_jsonl(path, rows):
    """Write one JSON object a line and return the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
