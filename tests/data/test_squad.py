"""SQuAD documents: each question becomes a row, and what is broken is rejected by its number."""

import gzip
import json

import pytest

from inlay.data.finding import find_tables, read_table
from inlay.data.formed import read_rows
from inlay.data.forms.spans import Spans
from inlay.data.jsonlines import read_jsonlines
from inlay.data.sources import read_dataset
from inlay.data.squad import read_squad
from inlay.data.table import MISSING
from inlay.errors import DataError

CONTEXT = "Ada wrote the first program. Ada lived in London."


def question(text, *answers, **more):
    return {
        "id": text, "question": text,
        "answers": [{"text": answer, "answer_start": CONTEXT.find(answer)} for answer in answers],
        **more,
    }  # fmt: skip


def write(path, articles, **more):
    document = {"version": "v2.0", "data": articles}
    path.write_text(json.dumps(document, **more), encoding="utf-8")
    return path


def article(*questions, context=CONTEXT):
    return {"title": "Ada", "paragraphs": [{"context": context, "qas": list(questions)}]}


@pytest.mark.parametrize("indent", [None, 2])
def test_every_question_is_a_row(tmp_path, indent):
    path = write(
        tmp_path / "d.json",
        [
            article(question("Who?", "Ada"), question("Where?", "London", "in London")),
            article(question("When?", is_impossible=True, plausible_answers=[{"text": "Ada"}])),
        ],
        indent=indent,
    )
    table = read_table(path, "d.json")
    assert table.columns == ["id", "question", "context", "answers"]
    assert table.column("question") == ["Who?", "Where?", "When?"]
    assert list(table.lines) == [1, 2, 3]
    assert table.rows[2] == ["When?", "When?", CONTEXT, []]
    assert json.loads(table.raw(1))["answers"][1]["text"] == "in London"
    assert table.notes == ["d.json: a SQuAD document; its questions are numbered from 1."]
    splits, rejected, _, _ = read_rows(find_tables(path), Spans(), {})
    assert [row.parts["answers"] for row in splits["train"]] == [
        [[0, "Ada"]], [[42, "London"], [39, "in London"]], []
    ]  # fmt: skip
    assert rejected == []


def test_gzip(tmp_path):
    path = write(tmp_path / "d.json", [article(question("Who?", "Ada"))])
    packed = tmp_path / "d.json.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_squad(packed, name="d.json.gz").column("question") == ["Who?"]


def test_what_is_broken_is_rejected_by_its_number(tmp_path):
    articles = [
        {"title": "no paragraphs"},
        {"paragraphs": ["text", {"context": CONTEXT}, {"qas": [question("Lost?", "Ada")]}]},
        article("no object", question("Both?", "Ada", is_impossible=True), question("Who?", "Ada")),
    ]
    table = read_squad(write(tmp_path / "d.json", articles), name="d.json")
    assert [(row.line, row.reason) for row in table.rejected] == [
        (1, 'an article has no list "paragraphs"'),
        (2, '"paragraphs" holds something that is no object'),
        (3, 'a paragraph has no list "qas"'),
        (5, '"qas" holds something that is no object'),
        (6, "is_impossible, yet it has answers"),
    ]
    assert list(table.lines) == [4, 7]
    assert table.rows[0][2] is MISSING
    _, rejected, _, _ = read_rows(find_tables(tmp_path / "d.json"), Spans(), {})
    assert (4, "context is missing") in [(row.line, row.reason) for row in rejected]


@pytest.mark.parametrize("data", [[], [article()], [{"paragraphs": []}]])
def test_a_document_without_questions(tmp_path, data):
    path = write(tmp_path / "d.json", data)
    if data:
        with pytest.raises(DataError, match="is laid out as SQuAD is, but has no question in it"):
            read_squad(path, name="d.json")
    else:
        assert read_squad(path, name="d.json") is None


@pytest.mark.parametrize(
    "text",
    [
        '{"text": "paragraphs", "label": "a"}\n{"text": "b", "label": "c"}\n',
        '{"paragraphs": 1}\n{"paragraphs": 2}\n',
        '{"data": {"paragraphs": []}}',
        '[{"paragraphs": []}]',
    ],
)
def test_other_files_are_left_to_their_reader(tmp_path, text):
    path = tmp_path / "d.json"
    path.write_text(text)
    assert read_squad(path, name="d.json") is None


def test_other_json_is_still_read_as_lines(tmp_path):
    path = tmp_path / "d.json"
    path.write_text('{"text": "a", "label": "x"}\n')
    assert read_table(path, "d.json").rows == read_jsonlines(path, name="d.json").rows


def test_a_folder_of_documents_is_a_data_set(tmp_path):
    for split, word in (("train", "program"), ("dev", "Ada"), ("test", "London")):
        write(tmp_path / f"{split}-v2.0.json", [article(question(f"{split}?", word))])
    dataset = read_dataset(tmp_path)
    assert {split: [row.label for row in rows] for split, rows in dataset.splits.items()} == {
        "train": ["program"], "validation": ["Ada"], "test": ["London"]
    }  # fmt: skip
    assert dataset.form == "spans"
