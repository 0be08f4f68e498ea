from typing import get_type_hints

import pytest

from inlay.cli.evaluate import evaluate
from inlay.cli.options import parse_label_map, parse_share, parse_task_options
from inlay.cli.predict import predict
from inlay.cli.train import train
from inlay.errors import ConfigError, DataError
from inlay.tasks.registry import TASKS


def test_label_map():
    assert parse_label_map(None) == {}
    assert parse_label_map(["Good=good", "a=b=c"]) == {"Good": "good", "a": "b=c"}


@pytest.mark.parametrize("part", ["Good", "=good", "Good="])
def test_label_map_without_two_sides(part):
    with pytest.raises(ConfigError, match=r"write OLD=NEW, like --map-label Good=good\."):
        parse_label_map([part])


def test_label_map_to_two_labels():
    with pytest.raises(ConfigError, match="'a' cannot be both 'b' and 'c'"):
        parse_label_map(["a=b", "a=c"])


def test_share():
    assert parse_share(None) is None
    assert parse_share("5%") == parse_share("0.05") == 0.05
    with pytest.raises(DataError, match="is not a fraction"):
        parse_share("many")


def test_task_options():
    assert parse_task_options(None) == {}
    given = ["num-beams=2", "out_of_scope=not=mine", "my-task.max-length= 3"]
    assert parse_task_options(given) == {
        "num_beams": "2", "out_of_scope": "not=mine", "my-task.max_length": " 3"
    }  # fmt: skip


@pytest.mark.parametrize("part", ["num_beams", "=2", "qa.=2"])
def test_task_options_without_two_sides(part):
    with pytest.raises(ConfigError, match=r"write KEY=VALUE, like --task-option num_beams=2\."):
        parse_task_options([part])


def test_a_task_option_given_twice():
    assert parse_task_options(["a=1", "a=1"]) == {"a": "1"}
    with pytest.raises(ConfigError, match="a cannot be both '1' and '2'"):
        parse_task_options(["a=1", "a=2"])


@pytest.mark.parametrize(
    ("command", "whens"),
    [
        (train, {"always", "training", "reports"}),
        (evaluate, {"always", "afterwards", "reports"}),
        (predict, {"always", "afterwards"}),
    ],
)
def test_help_names_the_options_of_tasks_that_have_an_effect(command, whens):
    kind = get_type_hints(command, include_extras=True)["task_options"]
    shown = kind.__metadata__[0].help.split(". ", 1)[1]
    groups = [part.split(": ")[1] for part in shown.rstrip(".").split("; ")]
    named = {name for names in groups for name in names.split(", ")}
    options = [own for task in TASKS.values() for own in task.options.items()]
    assert named == {name for name, when in options if when in whens}
