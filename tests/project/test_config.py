"""A project's file: shared and own settings, and every mistake by name."""

import pytest

from inlay.errors import ConfigError
from inlay.project.config import read_project
from tests import tiny

GOOD = """base: minilm
train: {epochs: 6, method: lora}
seeds: [1, 2]
tasks:
  intent: {data: intent.csv, gate: 0.9}
  spam: {data: banking77, method: head}
"""


@pytest.fixture
def write(tmp_path):
    tiny.write_csv(tmp_path / "intent.csv", tiny.rows(30))

    def put(text):
        path = tmp_path / "inlay.yaml"
        path.write_text(text)
        return path

    return put


def test_own_settings_win_over_shared_ones(write, tmp_path):
    project = read_project(write(GOOD))
    intent, spam = project.tasks.values()
    assert (project.seeds, project.runs) == ((1, 2), tmp_path / "runs")
    assert (intent.gate, spam.gate) == (0.9, None)
    config = project.resolved(intent, 2).config
    assert (config.base, config.epochs, config.method, config.seed) == ("minilm", 6, "lora", 2)
    assert config.data == str(tmp_path / "intent.csv")
    assert project.resolved(spam, 1).config.method == "head"
    assert project.resolved(spam, 1).config.data == "banking77"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("base:", "bse:", "unknown key \"bse\".*'base'"),
        ("epochs: 6", "epocs: 6", "task 'intent': unknown key \"epocs\""),
        ("epochs: 6", "epochs: 0", "task 'intent': epochs=0: input should be greater"),
        ("{data: intent.csv, gate: 0.9}", "{gate: 0.9}", "task 'intent' names no `data:`"),
        ("gate: 0.9", "gate: high", "gate is 'high', not a number"),
        ("gate: 0.9", "seed: 3", "seed is set for the whole project, not for a task"),
        ("[1, 2]", "[one]", r"seeds=\['one'\]; give whole numbers"),
        ("  spam:", "  a/b:", "'a/b' cannot be the name of a folder"),
        ("tasks:", "tasks: 3 #", "is not YAML|expected `tasks:`"),
        ("{epochs: 6, method: lora}", "6", "expected settings, such as"),
    ],
)
def test_mistakes_are_named(write, old, new, message):
    with pytest.raises(ConfigError, match=message):
        read_project(write(GOOD.replace(old, new)))


def test_a_project_or_a_task_that_is_not_there(write, tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml does not exist; a project is a file such"):
        read_project(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="has no task 'intend'; it has intent, spam. Did you mea"):
        read_project(write(GOOD)).task("intend")
