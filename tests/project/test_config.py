"""A project's file: what is shared, what is a task's own, and what is refused."""

import pytest

from inlay.errors import ConfigError
from inlay.project.config import read_project

GOOD = """
base: some-base
train: {epochs: 6, method: head, batch_size: 8}
seeds: [3, 1, 3]
runs: results
tasks:
  intent: {data: data/intent.csv, gate: 0.9}
  topics: {data: hub/name, epochs: 2}
"""


@pytest.fixture
def write(tmp_path):
    """Write a project's file."""

    def write_text(text):
        path = tmp_path / "inlay.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_text


def test_tasks_share_settings_and_may_have_their_own(write):
    project = read_project(write(GOOD))
    assert list(project.tasks) == ["intent", "topics"]
    intent = project.resolved(project.tasks["intent"], 3).config
    topics = project.resolved(project.tasks["topics"], 7).config
    assert (intent.epochs, intent.method, intent.base, intent.seed) == (6, "head", "some-base", 3)
    assert (topics.epochs, topics.method, topics.batch_size, topics.seed) == (2, "head", 8, 7)
    assert (project.tasks["intent"].gate, project.tasks["topics"].gate) == (0.9, None)


def test_data_and_runs_are_beside_the_file(write, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "intent.csv").touch()
    project = read_project(write(GOOD))
    assert project.runs == tmp_path / "results"
    assert project.tasks["intent"].settings["data"] == str(tmp_path / "data" / "intent.csv")
    assert project.tasks["topics"].settings["data"] == "hub/name"


@pytest.mark.parametrize(
    ("seeds", "expected"), [("", (1,)), ("seeds: 4", (4,)), ("seeds: [3, 1, 3]", (3, 1))]
)
def test_seeds_are_one_or_many_each_once(write, seeds, expected):
    assert read_project(write(f"{seeds}\ntasks: {{a: {{data: x.csv}}}}")).seeds == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: [", "is not YAML"),
        ("- a", "expected `tasks:`"),
        ("base: x", "expected `tasks:`"),
        ("tasks: {}", "expected `tasks:`"),
        ("seed: [1]\ntasks: {a: {data: x}}", 'unknown key "seed".*Did you mean .seeds'),
        ("train: 6\ntasks: {a: {data: x}}", "train: expected settings"),
        ("train: {epoch: 6}\ntasks: {a: {data: x}}", '"epoch".*Did you mean "epochs"'),
        ("train: {seed: 6}\ntasks: {a: {data: x}}", "train: seed is set by `seeds:`"),
        ("train: {out: r}\ntasks: {a: {data: x}}", "train: out is set by `runs:`"),
        ("train: {base: r}\ntasks: {a: {data: x}}", "train: base is set by `base:`"),
        ("tasks: {a: {data: x, epoch: 6}}", 'task \'a\'.*"epoch".*Did you mean "epochs"'),
        ("tasks: {a: {data: x, epochs: many}}", "task 'a'.*epochs"),
        ("tasks: {a: x.csv}", "task 'a' names no `data:`"),
        ("tasks: {a: {task: tagging}}", "task 'a' names no `data:`"),
        ("tasks: {a: {data: x, gate: high}}", "gate is 'high', not a number"),
        ("tasks: {a: {data: x, gate: true}}", "gate is True, not a number"),
        ("tasks: {a: {data: x, seed: 2}}", "seed is set for the whole project"),
        ("tasks: {a: {data: x, out: r}}", "out is set for the whole project"),
        ("tasks: {a/b: {data: x}}", "'a/b' cannot be the name of a folder"),
        ("tasks: {..: {data: x}}", "'..' cannot be the name of a folder"),
        ("seeds: []\ntasks: {a: {data: x}}", r"seeds=\[\]; give whole numbers"),
        ("seeds: [true]\ntasks: {a: {data: x}}", "give whole numbers"),
        ("seeds: 1.5\ntasks: {a: {data: x}}", "give whole numbers"),
    ],
)
def test_mistakes_are_named(write, text, message):
    path = write(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_project(path)
    assert str(path) in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        read_project(tmp_path / "inlay.yaml")


def test_an_unknown_task_is_answered_with_those_there_are(write):
    project = read_project(write(GOOD))
    assert project.task("topics") is project.tasks["topics"]
    with pytest.raises(ConfigError, match="no task 'intents'; it has intent, topics.*Did you mean"):
        project.task("intents")


def test_a_base_beside_the_file_is_found_from_anywhere(write, tmp_path, monkeypatch):
    (tmp_path / "bases" / "tiny").mkdir(parents=True)
    text = "base: bases/tiny\ntasks: {a: {data: a.csv}, b: {data: b.csv}}"
    (tmp_path / "elsewhere").mkdir()
    path = write(text)
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = [task.settings["base"] for task in read_project(path).tasks.values()]
    assert found == [str((tmp_path / "bases" / "tiny").resolve())] * 2


def test_a_base_that_is_no_folder_beside_the_file_stays_a_name(write):
    project = read_project(write("base: minilm\ntasks: {a: {data: a.csv}}"))
    assert project.tasks["a"].settings["base"] == "minilm"


STACKED = """
base: some-base
tasks:
  rare: {data: rare.csv, stack_on: both}
  both: {data: both.yaml, stack_on: wide}
  wide: {data: wide.csv}
  other: {data: other.csv, stack_on: runs/done}
"""


def test_a_task_is_stacked_on_another_or_on_a_run(write, tmp_path):
    (tmp_path / "runs" / "done").mkdir(parents=True)
    project = read_project(write(STACKED))
    assert [task.stack_on for task in project.tasks.values()] == ["both", "wide", None, None]
    assert project.resolved(project.tasks["rare"], 1).config.stack_on is None
    other = project.resolved(project.tasks["other"], 1).config
    assert other.stack_on == str((tmp_path / "runs" / "done").resolve())
    assert project.with_below() == ["wide", "both", "rare", "other"]
    assert project.with_below(["both", "rare"]) == ["wide", "both", "rare"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("wide.csv}", "wide.csv, stack_on: rare}", "'rare' on 'both' on 'wide' on 'rare': tasks c"),
        ("wide.csv}", "wide.csv, stack_on: wide}", "'wide' on 'wide': tasks cannot be stacked in"),
        ("stack_on: wide", "stack_on: wade", "task 'both': stack_on: 'wade' is neither another .*"
         "Did you mean 'wide'"),
        ("tasks:", "train: {stack_on: wide}\ntasks:", "train: stack_on is said by each task"),
    ],
)  # fmt: skip
def test_what_cannot_be_stacked(write, tmp_path, old, new, message):
    (tmp_path / "runs" / "done").mkdir(parents=True)
    assert old in STACKED
    with pytest.raises(ConfigError, match=message):
        read_project(write(STACKED.replace(old, new)))
