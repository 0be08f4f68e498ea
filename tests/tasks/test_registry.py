"""Tasks by name and from what was kept beside an adapter."""

import dataclasses
import json

import pytest

from inlay.data.rows import Dataset
from inlay.errors import ConfigError, FormatError
from inlay.tasks.classification import TextClassification
from inlay.tasks.registry import TASKS, task_for, task_from_settings

DATASET = Dataset(
    name="d", splits={}, labels=["bad", "good"], columns={}, files=[], rejected=[], notes=[],
    made_splits=False,
)  # fmt: skip


@pytest.mark.parametrize("name", [None, "text-classification"])
def test_task_for_a_data_set_knows_its_labels(name):
    assert task_for(name, DATASET) == TextClassification(labels=("bad", "good"))


def test_unknown_task():
    message = (
        r"^no task 'text-clasification'; there are text-classification, .*"
        r"Did you mean 'text-classification'\?$"
    )
    with pytest.raises(ConfigError, match=message):
        task_for("text-clasification", DATASET)


@pytest.mark.parametrize("name", TASKS)
def test_settings_build_the_same_task_again(name):
    if name == "joint":
        task = TASKS[name](
            names=("a", "b"), weights=(1.0, 0.5), sampling="round-robin", temperature=3.0,
            members=[TextClassification(labels=("x", "y")).settings(), {"task": "multiple-choice"}],
        )  # fmt: skip
        settings = json.loads(json.dumps(task.settings()))
        assert task_from_settings(settings, "adapter.json").settings() == task.settings()
        return
    own = {
        "labels": ("b", "a", "ä"), "mean": 2.5, "deviation": 0.5, "dropout": 0.3,
        "num_trained": 2, "scheme": "iob2", "has_unanswerable": True,
    }  # fmt: skip
    fields = {field.name for field in dataclasses.fields(TASKS[name])}
    task = TASKS[name](**{key: value for key, value in own.items() if key in fields})
    settings = json.loads(json.dumps(task.settings()))
    assert settings["task"] == name
    assert task_from_settings(settings, "adapter.json") == task


GOOD = TextClassification(labels=("a", "b")).settings()
BAD = [
    (GOOD | {"task": "juggling"}, r"^f: task 'juggling' is not known; there are text-cl"),
    ({}, "^f: task None is not known"),
    (GOOD | {"colour": 1}, "^f: the task's settings are damaged .*colour"),
    ({"task": "text-classification"}, r"^f: the task's settings are damaged .*'labels'"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_settings_that_are_none(settings, message):
    with pytest.raises(FormatError, match=message):
        task_from_settings(settings, "f")
