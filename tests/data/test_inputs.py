"""Texts to predict for keep their line and their record."""

import json

import pytest

from inlay.data.forms.registry import FORMS
from inlay.data.inputs import parse_inputs, read_inputs
from inlay.errors import DataError


def test_a_table(tmp_path):
    path = tmp_path / "q.csv"
    path.write_text("id,text\n7,where is my card\n8,\n9,what is the rate\n")
    inputs = read_inputs(path)
    assert inputs.columns == ["id", "text"]
    assert [(row.example.text, row.example.line, row.record["id"]) for row in inputs.rows] == [
        ("where is my card", 2, "7"), ("what is the rate", 4, "9"),
    ]  # fmt: skip
    assert [(row.line, row.reason) for row in inputs.rejected] == [(3, "text is empty")]


def test_one_column_of_any_name(tmp_path):
    path = tmp_path / "q.csv"
    path.write_text("anything\none two three\n")
    assert [row.example.text for row in read_inputs(path).rows] == ["one two three"]


def test_lines_of_text(tmp_path):
    path = tmp_path / "q.txt"
    path.write_text("first\n\nsecond\n")
    inputs = read_inputs(path)
    assert [(row.example.text, row.example.line) for row in inputs.rows] == [
        ("first", 1),
        ("second", 3),
    ]
    assert [row.line for row in inputs.rejected] == [2]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="does not exist, or is no file"):
        read_inputs(tmp_path / "q.csv")


def test_only_line_ends_end_a_line(tmp_path):
    path = tmp_path / "q.txt"
    path.write_bytes("one\u2028more\x0bof it\r\ntwo\r".encode() + b"caf\xe9\n")
    inputs = read_inputs(path)
    assert [(row.example.text, row.example.line) for row in inputs.rows] == [
        ("one\u2028more\x0bof it", 1), ("two", 2),
    ]  # fmt: skip
    assert [(row.line, row.reason, row.raw) for row in inputs.rejected] == [
        (3, "not valid utf-8 (byte 0xE9)", "caf\\xE9")
    ]


def test_a_text_file_of_tagged_words_is_read_by_what_is_asked(tmp_path):
    path = tmp_path / "ner.txt"
    path.write_text("Fly O\nto O\nRome B-city\n\n" * 3, encoding="utf-8")
    tagged = read_inputs(path, form=FORMS["tagged"])
    assert [row.example.text for row in tagged.rows] == ["Fly to Rome"] * 3
    assert [row.example.text for row in read_inputs(path).rows[:2]] == ["Fly O", "to O"]
    path.write_text("Fly to Rome\nand back\n", encoding="utf-8")
    tagged = read_inputs(path, form=FORMS["tagged"])
    assert [row.example.text for row in tagged.rows] == ["Fly to Rome", "and back"]


def test_second_texts_are_there_or_left_aside_as_the_adapter_asks(tmp_path):
    path = tmp_path / "asked.csv"
    path.write_text("text,text_pair\nmy card,my loan\n", encoding="utf-8")
    pairs = {
        has_pairs: [row.example.pair for row in read_inputs(path, has_pairs=has_pairs).rows]
        for has_pairs in (True, False, None)
    }
    assert pairs == {True: ["my loan"], False: [None], None: ["my loan"]}
    path.write_text("text,id\nmy card,7\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"no column of second texts \(it has text, id\).*--pair-c"):
        read_inputs(path, has_pairs=True)


def test_what_is_mended_is_counted(tmp_path):
    path = tmp_path / "chat.jsonl"
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    rows = [{"messages": turns}, {"messages": turns[:1]}, {"messages": turns}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    inputs = read_inputs(path, form=FORMS["chat"])
    assert [row.example.text for row in inputs.rows] == ["user: hello"] * 3
    assert inputs.notes == ["2 x answer of the assistant at the end left out, to be written anew."]


def test_json_lines_that_are_in_no_file():
    lines = [
        b'{"question": "who", "context": "it was me", "id": 7}', b"", b'{"question": "why"}', b"x",
    ]  # fmt: skip
    inputs = parse_inputs(b"\n".join(lines), name="standard input", form=FORMS["spans"])
    ((example, record),) = inputs.rows
    assert (example.text, example.pair, example.line) == ("who", "it was me", 1)
    assert record == {"question": "who", "context": "it was me", "id": 7}
    assert [(row.line, row.reason) for row in inputs.rejected] == [
        (3, "context is missing"), (4, "not JSON: expecting value (character 1)"),
    ]  # fmt: skip
    assert inputs.notes == ["standard input: blank lines skipped: 1."]
    assert (inputs.path, inputs.layout) == ("standard input", "jsonl")


def test_columns_of_json_lines_can_be_named():
    content = b'{"a": "one", "b": "two"}'
    (row,) = parse_inputs(
        content, name="-", columns={"text": "a", "pair": "b"}, has_pairs=True
    ).rows
    assert (row.example.text, row.example.pair) == ("one", "two")
    with pytest.raises(
        DataError, match=r"standard input has no line with a JSON object in it\. Line"
    ):
        parse_inputs(b"a text\n", name="standard input")
