"""A file that names several data sets, read into one."""

from pathlib import Path

import pytest

from inlay.data.joint import Members
from inlay.data.sources import read_dataset
from inlay.errors import ConfigError, DataError
from tests import tiny
from tests.data.forms.files import write_jsonl


@pytest.fixture
def folder(tmp_path):
    tiny.write_csv(tmp_path / "topics.csv", tiny.rows(60))
    rows = [{"question": f"q{n}", "choices": ["a", "b"], "label": n % 2} for n in range(40)]
    write_jsonl(tmp_path / "choices.jsonl", rows)
    return tmp_path


def write(folder, text):
    path = folder / "tasks.yaml"
    path.write_text(text)
    return path


GOOD = "tasks:\n  topics: {data: topics.csv, weight: 2}\n  which: {data: choices.jsonl}\n"


def test_rows_of_all_data_sets_say_whose_they_are(folder):
    data = read_dataset(write(folder, GOOD), task="joint")
    assert data.form == "joint"
    for split, rows in data.splits.items():
        sizes = [len(own.splits[split]) for own in data.members.datasets.values()]
        marks = [row.parts["joint"] for row in rows]
        assert [marks.count(0), marks.count(1)] == sizes
    assert data.splits["train"][-1].parts["choices"] == ["a", "b"]
    assert len(data.files) == 2
    assert isinstance(data.members, Members)
    plan = data.members.plan
    assert (plan.names, plan.weights) == (("topics", "which"), {"topics": 2.0, "which": 1.0})
    assert (plan.sampling, plan.tasks) == ("proportional", {"topics": None, "which": None})


def test_few_rows_for_all_or_for_one(folder):
    text = GOOD.replace("{data: choices.jsonl}", "{data: choices.jsonl, few_shot: 9}")
    data = read_dataset(write(folder, text), task="joint", few_shot=2)
    sizes = [len(own.splits["train"]) for own in data.members.datasets.values()]
    assert sizes == [6, 9]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: 3\n", "expected `tasks:` with a name and `data:` for each task"),
        ("a: [\n", "is not YAML"),
        (GOOD + "colour: 1\n", 'unknown key "colour"'),
        (GOOD.replace("weight", "wieght"), "task 'topics': unknown key \"wieght\".*'weight'"),
        (GOOD.replace("weight: 2", "weight: 0"), "weight of 'topics' is 0; a number above 0"),
        (GOOD + "sampling: randomly\n", "sampling='randomly' is not one of proportional, temp"),
        (GOOD + "temperature: hot\n", "temperature is 'hot'; a number above 0 is needed"),
        ("tasks:\n  one: {data: topics.csv}\n", "give two tasks or more to learn together"),
        (GOOD.replace("data: choices.jsonl", "task: tagging"), "task 'which' names no `data:`"),
    ],
)
def test_bad_files(folder, text, message):
    with pytest.raises(ConfigError, match=message):
        read_dataset(write(folder, text), task="joint")


def test_files_that_are_not_there(folder):
    with pytest.raises(ConfigError, match="is not YAML"):
        read_dataset(Path(folder) / "none.yaml", task="joint")
    with pytest.raises(DataError, match=r"none\.csv"):
        read_dataset(write(folder, GOOD.replace("topics.csv", "none.csv")), task="joint")
