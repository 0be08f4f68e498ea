import re

import pytest

from inlay.cli.options import TaskOptions, parse_label_map, parse_share, parse_task_options
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


def test_help_names_every_option_of_a_task():
    named = set(re.findall(r"[a-z_]+", TaskOptions.__metadata__[0].help.split(":", 1)[1]))
    assert {option for task in TASKS.values() for option in task.options} <= named
