import typing

import pytest

from inlay.cli import train_options
from inlay.cli.train import train
from inlay.training.config import TrainConfig

NO_SETTINGS = {"config", "settings", "force", "as_json", "return", "project", "explain_speed"}


def test_every_option_is_a_setting_by_the_same_name():
    options = set(typing.get_type_hints(train)) - NO_SETTINGS
    assert options <= set(TrainConfig.model_fields)


@pytest.mark.parametrize(
    ("option", "field"),
    [
        ("Base", "base"),
        ("Method", "method"),
        ("Epochs", "epochs"),
        ("BatchSize", "batch_size"),
        ("Seed", "seed"),
        ("Precision", "precision"),
        ("Patience", "patience"),
    ],
)
def test_the_default_that_help_shows_is_the_one_that_holds(option, field):
    shown = typing.get_args(getattr(train_options, option))[1].show_default
    assert shown.partition(";")[0] == str(TrainConfig.model_fields[field].default)
