"""Data sets of every form: told from the columns, read, split, and inspected."""

import json

import pytest

from inlay.data.inspection import inspect_dataset
from inlay.data.sources import read_dataset
from inlay.errors import ConfigError, DataError
from tests.data.forms.files import write_jsonl

MADE = {
    "tagged": lambda n: {"tokens": ["a", f"w{n}"], "tags": ["O", "B-x"]},
    "spans": lambda n: {
        "question": f"q{n}", "context": f"the answer is {n % 35}",
        "answers": {"text": [str(n % 35)], "answer_start": [14]},
    },
    "choices": lambda n: {"question": f"q{n}", "choices": ["a", "b"], "label": n % 2},
    "chat": lambda n: {
        "messages": [{"role": "user", "content": f"hi {n}"},
                     {"role": "assistant", "content": "ho"}],
    },
    "multi-labelled": lambda n: {"text": f"t{n}", "labels": ["a", "b"][: n % 3]},
    "to-text": lambda n: {"source": f"say {n}", "target": f"some words about {n}"},
    "scored": lambda n: {"sentence1": f"a{n}", "sentence2": f"b{n}", "score": n / 7},
}  # fmt: skip


@pytest.mark.parametrize("form", MADE)
def test_a_form_is_told_from_its_columns(tmp_path, form):
    path = write_jsonl(tmp_path / "d.jsonl", [MADE[form](n) for n in range(70)])
    data = read_dataset(path)
    assert data.form == form
    assert sum(map(len, data.splits.values())) == 70
    assert data.made_splits and data.splits["test"] and data.splits["validation"]
    record = json.loads(json.dumps(data.to_record()))
    assert (record["form"], record["rows"]["read"]) == (form, 70)
    found = inspect_dataset(path)
    assert found.problem is None
    assert found.columns == {role: name for role, name in data.columns.items() if name}
    assert sum(found.splits.values()) == 70


@pytest.mark.parametrize(
    "extra",
    [
        {"score": 0.123}, {"source": "web"}, {"target": "x y z w v"}, {"tags": ["a"]},
        {"labels": ["p"]},
    ],
)  # fmt: skip
def test_a_text_with_a_label_stays_one_whatever_else_there_is(tmp_path, extra):
    rows = [
        {"text": f"words number {n}", "label": "ab"[n % 2]}
        | {key: value if isinstance(value, list) else f"{value}{n}" for key, value in extra.items()}
        for n in range(60)
    ]
    assert read_dataset(write_jsonl(tmp_path / "d.jsonl", rows)).form == "labelled"


def test_questions_on_one_text_stay_in_one_split(tmp_path):
    path = write_jsonl(tmp_path / "d.jsonl", [MADE["spans"](n) for n in range(70)])
    splits = read_dataset(path).splits
    texts = {name: {row.pair for row in rows} for name, rows in splits.items()}
    assert not texts["train"] & texts["test"]


def test_rows_that_cannot_be_used_are_counted_and_too_many_refused(tmp_path):
    rows = [MADE["to-text"](n) for n in range(60)] + [{"source": "", "target": "x"}] * 6
    path = write_jsonl(tmp_path / "d.jsonl", rows)
    data = read_dataset(path, max_rejected=0.2)
    record = data.to_record()["rows"]
    assert (record["read"], record["used"], record["rejected"]) == (66, 60, 6)
    assert {row.reason for row in data.rejected} == {"source is empty"}
    with pytest.raises(DataError, match="6 of 66 rows cannot be used .* line 61: source is empty"):
        read_dataset(path)


def test_labels_are_renamed_in_labelled_texts_only(tmp_path):
    path = write_jsonl(tmp_path / "d.jsonl", [MADE["tagged"](n) for n in range(60)])
    with pytest.raises(DataError, match="labels are renamed in labelled texts only, not in tag"):
        read_dataset(path, label_map={"a": "b"})


def test_a_task_that_is_not_known(tmp_path):
    path = write_jsonl(tmp_path / "d.jsonl", [MADE["tagged"](n) for n in range(60)])
    with pytest.raises(ConfigError, match="no task 'taging'; .* Did you mean 'tagging'"):
        read_dataset(path, task="taging")
    assert read_dataset(path, task="ner").form == "tagged"
