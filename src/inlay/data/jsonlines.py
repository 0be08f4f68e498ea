"""JSON Lines: one object a line."""

import json
from pathlib import Path
from typing import Any

from inlay.data.decoding import Decoded, fault_in, printable, read_text
from inlay.data.rows import Rejected
from inlay.data.table import MISSING, Table
from inlay.errors import DataError

_KINDS = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}


def read_jsonlines(path: Path, *, name: str) -> Table:
    """Read a file with one JSON object a line.

    Args:
        path: The file, plain or gzipped.
        name: What to call it in messages and row ids.

    Raises:
        DataError: If it has no line that is an object, or is one JSON document.
    """
    return parse_jsonlines(read_text(path, name=name), name=name, path=str(path))


def parse_jsonlines(decoded: Decoded, *, name: str, path: str) -> Table:
    """Return the rows of a text with one JSON object a line.

    Args:
        decoded: The text.
        name: What to call it in messages and row ids.
        path: Where it is from.

    Raises:
        DataError: If it has no line that is an object, or is one JSON document.
    """
    lines = decoded.text.split("\n")
    objects: list[dict[str, Any]] = []
    numbers: list[int] = []
    rejected: list[Rejected] = []
    columns: dict[str, None] = {}
    num_blank = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            num_blank += number < len(lines)
            continue
        value = _parse_line(line, decoded.encoding if decoded.has_faults else None)
        if isinstance(value, str):
            rejected.append(Rejected(name, number, value, printable(line)))
            continue
        objects.append(value)
        numbers.append(number)
        columns.update(dict.fromkeys(value))
    if not columns:
        _explain_no_objects(decoded.text, name, rejected)
    names = list(columns)
    return Table(
        name=name,
        path=path,
        layout="jsonl",
        sha256=decoded.sha256,
        encoding=decoded.encoding,
        separator=None,
        columns=names,
        rows=[[value.get(column, MISSING) for column in names] for value in objects],
        lines=numbers,
        raw=lambda index: printable(lines[numbers[index] - 1]),
        rejected=rejected,
        notes=[f"{name}: blank lines skipped: {num_blank}."] if num_blank else [],
        # An escaped half of a surrogate pair passes json and fails when the text is encoded.
        has_faults=decoded.has_faults or "\\ud" in decoded.text or "\\uD" in decoded.text,
        is_typed=True,
    )


def _parse_line(line: str, fault_encoding: str | None) -> dict[str, Any] | str:
    """Return the line's object, or the reason why there is none."""
    fault = fault_in(line, fault_encoding) if fault_encoding else None
    if fault:
        return fault
    try:
        value = json.loads(line, object_pairs_hook=_build_object)
    except json.JSONDecodeError as error:
        return f"not JSON: {error.msg[:1].lower()}{error.msg[1:]} (character {error.pos + 1})"
    except _RepeatedKeyError as error:
        return f"the key {json.dumps(error.args[0])} appears twice"
    except RecursionError:
        return "not JSON that can be read: nested too deeply"
    except ValueError as error:
        return f"not JSON that can be read: {error}"
    if isinstance(value, dict):
        return value if all(map(_can_encode, value)) else "a key has half of a surrogate pair"
    return f"{_KINDS.get(type(value), 'a number')}, not an object"


def _can_encode(key: str) -> bool:
    return key.isascii() or not any("\ud800" <= character <= "\udfff" for character in key)


class _RepeatedKeyError(Exception):
    """An object names a key twice, and `json` would keep the last without a word."""


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    built = dict(pairs)
    if len(built) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKeyError(next(key for key in keys if keys.count(key) > 1))
    return built


def _explain_no_objects(text: str, name: str, rejected: list[Rejected]) -> None:
    start = text.lstrip()[:1]
    if start == "[" or (start == "{" and len(rejected) > 1 and rejected[0].raw.strip() == "{"):
        raise DataError(
            f"{name} is one JSON document; JSON Lines is needed: one object a line, such as "
            '{"text": "...", "label": "..."}.'
        )
    first = f" Line {rejected[0].line}: {rejected[0].reason}." if rejected else ""
    raise DataError(f"{name} has no line with a JSON object in it.{first}")
