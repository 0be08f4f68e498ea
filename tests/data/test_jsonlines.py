"""JSON lines: each fault has its line."""

import gzip
import json

import pytest

from inlay.data.jsonlines import read_jsonlines
from inlay.errors import DataError


def test_rows_and_faults(tmp_path):
    path = tmp_path / "t.jsonl"
    lines = ['{"text": "a", "label": "x"}', "{broken", "[1, 2]", "", '{"text": "b", "label": 3}']
    path.write_text("\n".join(lines) + "\n")
    table = read_jsonlines(path, name="t.jsonl")
    assert table.columns == ["text", "label"]
    assert [row[0] for row in table.rows] == ["a", "b"]
    assert [row.line for row in table.rejected] == [2, 3]
    assert "JSON" in table.rejected[0].reason
    assert "object" in table.rejected[1].reason
    assert table.rejected[0].raw == "{broken"


def test_gzip(tmp_path):
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps({"text": "é", "label": "x"}).encode()))
    assert read_jsonlines(path, name=path.name).rows == [["é", "x"]]


def test_a_damaged_gzip(tmp_path):
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "a"}\n' * 100)[:-20])
    with pytest.raises(DataError, match="t.jsonl.gz"):
        read_jsonlines(path, name=path.name)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "a", "text": "b"}', 'the key "text" appears twice'),
        ('{"\\ud800": 1}', "a key has half of a surrogate pair"),
        ("[" * 100_000, "not JSON that can be read: nested too deeply"),
        ("null", "null, not an object"),
    ],
)
def test_reasons(tmp_path, line, reason):
    path = tmp_path / "t.jsonl"
    path.write_text(line + '\n{"text": "a", "label": "x"}\n')
    assert [row.reason for row in read_jsonlines(path, name="t.jsonl").rejected] == [reason]


def test_one_json_document_is_not_json_lines(tmp_path):
    path = tmp_path / "t.json"
    path.write_text('[{"text": "a", "label": "x"}]')
    with pytest.raises(DataError, match="is one JSON document; JSON Lines is needed"):
        read_jsonlines(path, name="t.json")
