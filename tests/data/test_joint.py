"""A file that names several data sets: how it is read, mixed, hashed and refused."""

import hashlib
import json

import pytest

from inlay.data.joint import Members, Plan
from inlay.data.rows import SPLITS
from inlay.data.sources import read_dataset
from inlay.errors import ConfigError, DataError
from inlay.training.config import resolve_config
from inlay.training.run_folder import run_digest
from tests import tiny

FILE = """
sampling: temperature
temperature: 3
tasks:
  topics: {data: topics.csv}
  slots: {data: slots.jsonl, task: tagging, weight: 0.5}
"""


def write_slots(path, number):
    lines = []
    for index, (text, label) in enumerate(tiny.rows(number, seed=4)):
        tokens = text.split()
        tags = ["B-x" if token in tiny.TOPICS[label] else "O" for token in tokens]
        lines.append(json.dumps({"tokens": tokens, "tags": tags, "id": index}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    """A folder with two data sets."""
    tiny.write_csv(tmp_path / "topics.csv", tiny.rows(60))
    write_slots(tmp_path / "slots.jsonl", 31)
    return tmp_path


@pytest.fixture
def read(folder):
    """Write a file of this form and read it."""

    def read_text(text=FILE, **options):
        path = folder / "both.yaml"
        path.write_text(text, encoding="utf-8")
        return read_dataset(str(path), task="joint", **options)

    return read_text


def test_every_row_of_every_task_is_there_and_says_whose_it_is(read, folder):
    found = read()
    assert (found.name, found.form) == ("both", "joint")
    assert isinstance(found.members, Members)
    alone = {
        "topics": read_dataset(str(folder / "topics.csv")),
        "slots": read_dataset(str(folder / "slots.jsonl"), task="tagging"),
    }
    assert list(found.members.datasets) == list(alone)
    for split in SPLITS:
        for number, one in enumerate(alone.values()):
            own = [row for row in found.splits[split] if row.parts["joint"] == number]
            assert [(row.text, row.label, row.line) for row in own] == [
                (row.text, row.label, row.line) for row in one.splits[split]
            ]
            kept = [{k: v for k, v in row.parts.items() if k != "joint"} for row in own]
            assert kept == [row.parts or {} for row in one.splits[split]]
    assert sum(len(rows) for rows in found.splits.values()) == 91


def test_the_plan_is_what_the_file_says(read):
    assert read().members.plan == Plan(
        names=("topics", "slots"), tasks={"topics": None, "slots": "tagging"},
        weights={"topics": 1.0, "slots": 0.5}, sampling="temperature", temperature=3.0,
    )  # fmt: skip
    plain = read("tasks: {1: {data: topics.csv}, 2: {data: slots.jsonl}}")
    assert (plain.members.plan.sampling, plain.members.plan.temperature) == ("proportional", 2.0)
    assert plain.members.plan.names == tuple(plain.members.datasets) == ("1", "2")


def test_counts_of_the_record_add_up_and_the_file_itself_is_hashed(read, folder):
    found = read()
    record = found.to_record()
    assert [one["path"].rpartition("/")[2] for one in record["files"]] == [
        "both.yaml", "topics.csv", "slots.jsonl",
    ]  # fmt: skip
    digest = hashlib.sha256((folder / "both.yaml").read_bytes()).hexdigest()
    assert record["files"][0]["sha256"] == digest
    assert record["rows"]["used"] == sum(record["splits"].values()) == 91


def test_another_mixture_is_another_run(read):
    def digest(text):
        found = read(text)
        config = resolve_config({"data": "both.yaml", "task": "joint"}).config
        return run_digest(config, found)

    assert digest(FILE) == digest(FILE)
    assert digest(FILE) != digest(FILE.replace("0.5", "0.25"))


def test_options_of_one_task_and_few_rows_of_each(read, folder):
    columns = ("phrase", "topic")
    tiny.write_csv(folder / "other.csv", [row[:2] for row in tiny.rows(40, seed=8)], columns)
    found = read(
        "tasks:\n  a: {data: topics.csv, few_shot: 2}\n"
        "  b: {data: other.csv, text_column: phrase, label_column: topic}",
        few_shot=3,
    )
    assert [len(one.splits["train"]) for one in found.members.datasets.values()] == [6, 9]
    assert found.members.datasets["b"].columns["text"] == "phrase"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: [", "is not YAML"),
        ("- a", "expected `tasks:`"),
        ("tasks: 3", "expected `tasks:`"),
        ("tasks: {a: {data: topics.csv}}", "give two tasks or more"),
        (FILE + "samplings: x", 'unknown key "samplings".*Did you mean .sampling'),
        (FILE.replace("weight", "weigth"), "task 'slots': unknown key \"weigth\".*weight"),
        (FILE.replace("{data: topics.csv}", "topics.csv"), "task 'topics' names no `data:`"),
        (FILE.replace("data: slots", "date: slots"), "task 'slots' names no `data:`"),
        (FILE.replace(": temperature", ": temprature"), "sampling='temprature' is not one of"),
        (FILE.replace("0.5", "0"), "weight of 'slots' is 0; a number above 0"),
        (FILE.replace("0.5", "yes"), "weight of 'slots' is True"),
        (FILE.replace("0.5", ".nan"), "weight of 'slots' is nan"),
        (FILE.replace("0.5", ".inf"), "weight of 'slots' is inf"),
        (FILE.replace(": 3", ": -1"), "temperature is -1"),
        (FILE.replace("slots:", "loss:"), "a task named 'loss' cannot be one of several"),
        (FILE.replace("topics:", "mean:"), "a task named 'mean' cannot be one of several"),
        (FILE.replace("task: tagging", "task: joint"), "the task 'joint' cannot be one of several"),
        (FILE.replace("task: tagging", "task: taging"), "taging"),
    ],
)
def test_mistakes_are_named(read, text, message):
    with pytest.raises(ConfigError, match=message):
        read(text)


def test_data_that_are_not_there_are_an_error(read):
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        read(FILE.replace("topics.csv", "nowhere.csv"))


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml does not exist"):
        read_dataset(str(tmp_path / "none.yaml"), task="joint")


def test_a_fault_in_data_says_whose_they_are(read, folder):
    (folder / "topics.csv").write_text("text,label\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"^both\.yaml, task 'topics': "):
        read()
